"""Pictures of sequence models are made of what was measured."""

import numpy as np
import pytest

from jaxlab.plots import text as text_plots


@pytest.fixture
def axes(monkeypatch):
    """Collect the axes of what is drawn."""
    drawn = []
    save_figure = text_plots.save_figure

    def save(figure, path):
        drawn.extend(figure.axes)
        return save_figure(figure, path)

    monkeypatch.setattr(text_plots, "save_figure", save)
    return drawn


def test_attention_is_drawn_with_any_piece_of_text(tmp_path, rng, axes):
    weights = rng.dirichlet(np.ones(5), size=(3, 4))
    sources = [["a", " b", "\n", "$x$", "<eos>"], ["ü", "<eos>"], ["a"] * 5]
    targets = [["c", "d", "<eos>"], ["e"], ["f"] * 4]
    path = text_plots.attention_maps(tmp_path, weights, sources, targets)
    assert path == tmp_path / "attention.png"
    assert path.exists()
    for one, of, source, target in zip(axes, weights, sources, targets, strict=True):
        shown = one.images[0].get_array()
        np.testing.assert_array_equal(shown, of[: len(target), : len(source)])
    labels = [text.get_text() for text in axes[0].get_xticklabels()]
    assert labels == ["a", "␣b", "↵", r"\$x\$", "<eos>"]


def test_gradients_that_vanish_are_drawn(tmp_path, axes):
    norms = {"rnn": np.array([2.0, 1e-20, 0.0]), "lstm": np.array([1.0, 0.5, 0.2])}
    path = text_plots.gradient_by_lag(tmp_path, norms)
    assert path == tmp_path / "gradient_by_lag.png"
    assert path.exists()
    rnn, lstm = (line.get_ydata() for line in axes[0].lines)
    np.testing.assert_allclose(rnn[:2], [1, 5e-21])
    assert rnn[2] > 0  # zero has no logarithm
    np.testing.assert_allclose(lstm, [1, 0.5, 0.2])


def test_tokens_beyond_what_a_picture_holds_are_cut_off(tmp_path, axes, monkeypatch):
    monkeypatch.setattr(text_plots, "_MOST_TOKENS", 5)
    texts = [["word" * 20] * 8]
    weights = np.full((1, 8, 8), 1 / 8)
    assert text_plots.attention_maps(tmp_path, weights, texts, texts).exists()
    assert axes[0].images[0].get_array().shape == (5, 5)
    assert len(axes[0].get_xticklabels()[0].get_text()) == 16
