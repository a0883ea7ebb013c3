"""Pictures of sequence models are made of what was measured."""

import json

import numpy as np
from matplotlib.image import imread

from jaxlab.train import plots, text_plots


def colors(path):
    """Count the colours of a PNG; an empty figure has few."""
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 50
    return len(np.unique(pixels[..., :3].reshape(-1, 3), axis=0))


def test_attention_is_drawn_with_any_piece_of_text(tmp_path, rng):
    weights = rng.dirichlet(np.ones(5), size=(3, 4))
    sources = [["a", " b", "\n", "$x$", "<eos>"], ["ü", "<eos>"], ["a"] * 5]
    targets = [["c", "d", "<eos>"], ["e"], ["f"] * 4]
    path = text_plots.attention_maps(tmp_path, weights, sources, targets)
    assert path.name == "attention.png"
    assert colors(path) > 50


def test_gradients_that_vanish_are_drawn(tmp_path):
    norms = {"rnn": np.array([1.0, 1e-20, 0.0]), "lstm": np.array([1.0, 0.5, 0.2])}
    path = text_plots.gradient_by_lag(tmp_path, norms)
    assert path.name == "gradient_by_lag.png"
    assert colors(path) > 50


def test_runs_are_compared_over_steps_and_time(tmp_path):
    folders = {}
    for number, name in enumerate(("a", "b"), 1):
        folders[name] = tmp_path / name
        folders[name].mkdir()
        rows = []
        for step in (1, 2, 3):
            rows.append({"step": step, "train/loss": 1.0, "seconds": number * step})
            rows.append({"step": step, "valid/loss": number / step})
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folders[name] / "metrics.jsonl").write_text(text)
    path = plots.compared_curves(tmp_path, folders, "valid/loss")
    assert path.name == "compared.png"
    assert colors(path) > 50
