"""Pictures of sequence models are made of what was measured."""

import json

import numpy as np
import pytest

from jaxlab.train import plots, text_plots


@pytest.fixture
def axes(monkeypatch):
    """Collect the axes of what is drawn."""
    drawn = []
    for module in (plots, text_plots):

        def save(figure, path, save=module.save_figure):
            drawn.extend(figure.axes)
            return save(figure, path)

        monkeypatch.setattr(module, "save_figure", save)
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


def test_runs_are_compared_over_steps_and_time(tmp_path, axes):
    folders = {}
    for number, name in enumerate(("a", "b"), 1):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        rows = []
        for step in (2, 4, 6):
            rows.append({"step": step - 1, "valid/loss": number / step})
            rows.append({"step": step, "train/loss": 1.0, "seconds": number * step})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folders[name] / "metrics.jsonl").write_text(text)
    path = plots.compared_curves(tmp_path, folders, "valid/loss")
    assert path == tmp_path / "compared.png"
    assert path.exists()
    for number, (over_steps, over_time) in enumerate(
        zip(axes[0].lines, axes[1].lines, strict=True), 1
    ):
        np.testing.assert_allclose(over_steps.get_xdata(), [1, 3, 5])
        np.testing.assert_allclose(
            over_time.get_xdata(), [number, 3 * number, 5 * number]
        )
        np.testing.assert_allclose(over_time.get_ydata(), number / np.array([2, 4, 6]))
