"""Images, and what they were taken for."""

import numpy as np

from jaxlab.plots import images as plots


def test_confusion_matrix_and_predictions_are_drawn(tmp_path, rng, picture):
    images = rng.integers(0, 255, (40, 8, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, 3, 40).astype(np.int32)
    predicted = np.where(rng.random(40) < 0.2, (labels + 1) % 3, labels)
    names = ("cat", "dog", "ship")
    paths = plots.predictions(
        tmp_path, labels, predicted, lambda chosen: images[chosen], names
    )
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
    labels = np.zeros(6, np.int32)
    predicted = np.array([0, 0, 1, 0, 1, 0])
    plots.predictions(
        tmp_path, labels, predicted, lambda i: images[i], ("a", "b"), num_images=4
    )
    assert drawn["images"].ravel().tolist() == [2, 4, 0, 5]
    assert drawn["titles"] == ["b (a)", "b (a)", "a", "a"]
    assert drawn["colors"] == ["firebrick"] * 2 + ["black"] * 2


def test_examples_that_lie_class_by_class_are_all_shown(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "image_grid", lambda path, images, *_, **__: path)
    monkeypatch.setattr(plots, "confusion_matrix", lambda *args: tmp_path)
    labels = np.repeat(np.arange(4), 100)
    predicted = np.where(np.arange(400) % 5 == 0, (labels + 1) % 4, labels)

    def images(chosen):
        shown.append(chosen)
        return chosen

    plots.predictions(tmp_path, labels, predicted, images, "abcd", num_images=16)
    (chosen,) = shown
    assert len(set(chosen)) == 16
    is_wrong = predicted[chosen] != labels[chosen]
    assert is_wrong.tolist() == [True] * 8 + [False] * 8
    for part in (chosen[:8], chosen[8:]):
        assert np.bincount(labels[part]).tolist() == [2, 2, 2, 2]


def test_many_classes_still_fit(tmp_path, rng, picture):
    labels = rng.integers(0, 100, 500)
    names = [f"class {i}" for i in range(100)]
    picture(plots.confusion_matrix(tmp_path, labels, labels, names))
