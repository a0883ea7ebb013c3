"""Pictures are made of what was measured."""

import json

import numpy as np
from matplotlib.image import imread

from jaxlab.data.images import ArraySource
from jaxlab.train import plots


def picture(path):
    """Read a PNG; an empty figure has one colour."""
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 100
    assert len(np.unique(pixels[..., :3])) > 10
    return pixels


def test_learning_curves_show_every_metric(tmp_path):
    rows = [{"step": t, "train/loss": 1 / t, "seconds": t} for t in (1, 2, 3)]
    rows.append({"step": 3, "test/loss": 0.4, "test/accuracy": 0.5})
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(text)
    path = plots.learning_curves(tmp_path)
    assert path == tmp_path / "curves.png"
    picture(path)


def test_no_metrics_make_no_picture(tmp_path):
    assert plots.learning_curves(tmp_path) is None


def test_confusion_matrix_and_predictions_are_drawn(tmp_path, rng):
    images = rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 40).astype(np.int32)
    predicted = np.where(rng.random(40) < 0.2, (labels + 1) % 3, labels)
    names = ("cat", "dog", "ship")
    paths = plots.predictions(tmp_path, ArraySource(images, labels), predicted, names)
    assert [path.name for path in paths] == ["confusion.png", "predictions.png"]
    for path in paths:
        picture(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "confusion.png",
        "predictions.png",
    ]


def test_mistakes_come_first_in_the_grid(tmp_path, monkeypatch):
    drawn = {}

    def grid(path, images, titles, *, colors):
        drawn.update(images=images, titles=titles, colors=colors)
        return path

    monkeypatch.setattr(plots, "image_grid", grid)
    images = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1)
    source = ArraySource(images, np.zeros(6, np.int32))
    predicted = np.array([0, 0, 1, 0, 1, 0])
    plots.predictions(tmp_path, source, predicted, ("a", "b"), num_images=4)
    assert drawn["images"].ravel().tolist() == [2, 4, 0, 1]
    assert drawn["titles"] == ["b (a)", "b (a)", "a", "a"]
    assert drawn["colors"] == ["firebrick"] * 2 + ["black"] * 2


def test_many_classes_still_fit(tmp_path, rng):
    labels = rng.integers(0, 100, 500)
    names = [f"class {i}" for i in range(100)]
    picture(plots.confusion_matrix(tmp_path, labels, labels, names))


def test_importance_shows_the_greatest_and_adds_up_the_others(tmp_path, rng):
    names = [f"a rather long name of feature number {i}" for i in range(40)]
    path = plots.feature_importance(tmp_path, rng.dirichlet(np.ones(40)), names, "gain")
    assert path == tmp_path / "importance.png"
    picture(path)
    picture(plots.feature_importance(tmp_path, np.array([1.0]), ["only"]))
    picture(plots.feature_importance(tmp_path, np.zeros(2), ["never", "split"]))


def test_predictions_of_a_table_are_drawn_by_what_they_are(tmp_path, rng):
    target = rng.normal(size=50)
    path = plots.table_predictions(tmp_path, target, target + 0.1)
    assert path == tmp_path / "predicted.png"
    picture(path)
    many = rng.normal(size=6000)
    picture(plots.table_predictions(tmp_path, many, many + rng.normal(size=6000)))
    chances = rng.dirichlet(np.ones(3), 50)
    labels = rng.integers(0, 3, 50)
    path = plots.table_predictions(tmp_path, labels, chances, ("a", "b", "c"))
    assert path == tmp_path / "confusion.png"
