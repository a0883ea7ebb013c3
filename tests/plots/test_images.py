"""Images, and what they were taken for."""

import errno
import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes

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
    labels = rng.integers(0, 1000, 5000)
    names = [f"n{i:08}, a class with a very long name" for i in range(1000)]
    picture(plots.confusion_matrix(tmp_path, labels, labels, names))


HOSTILE = ("$cost$", "a$b", "猫" * 9, "_hidden", "", "n0144 " * 40, "\\frac{", "1")


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_images_of_any_channels_are_drawn(tmp_path, rng, picture, channels):
    images = rng.integers(0, 255, (9, 6, 5, channels), dtype=np.uint8)
    picture(plots.image_grid(tmp_path / "a.png", images, (*HOSTILE, "x")))


@pytest.fixture
def drawn(monkeypatch):
    """Collect the arrays that are drawn as images."""
    arrays, imshow = [], Axes.imshow

    def keep(axes, array, **options):
        arrays.append(array)
        return imshow(axes, array, **options)

    monkeypatch.setattr(Axes, "imshow", keep)
    return arrays


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_black_and_white_are_the_same_in_all_images(tmp_path, drawn, channels):
    images = np.zeros((3, 4, 4, channels), np.uint8)
    images[0], images[1, 0, 0] = 200, 100
    plots.image_grid(tmp_path / "a.png", images)
    (whole,) = drawn
    assert whole.dtype == np.uint8  # drawn as colours, not scaled
    np.testing.assert_array_equal(whole[:4, :4], 200)
    assert whole[0, 5].tolist() == [100] * 3
    np.testing.assert_array_equal(whole[:4, 10:14], 0)


@pytest.mark.parametrize("shape", [(0, 8, 8, 3), (1, 1, 1, 1), (1, 1, 28, 1)])
def test_no_image_and_images_of_one_row_are_drawn(tmp_path, shape):
    assert plots.image_grid(tmp_path / "a.png", np.zeros(shape, np.uint8)).exists()


def test_classes_of_any_name_are_drawn(tmp_path, rng, picture):
    labels = rng.integers(0, len(HOSTILE), 60)
    picture(plots.confusion_matrix(tmp_path, labels, labels[::-1], HOSTILE))
    none = np.zeros(0, np.int32)
    picture(plots.confusion_matrix(tmp_path, none, none, HOSTILE))
    picture(plots.confusion_matrix(tmp_path, labels * 0, labels * 0, ("only",)))
    images = np.zeros((60, 4, 4, 1), np.uint8)
    args = (tmp_path, labels, labels[::-1].copy(), lambda chosen: images[chosen])
    assert len(plots.predictions(*args, HOSTILE)) == 2
    empty = plots.predictions(tmp_path, none, none, lambda i: images[:0], HOSTILE)
    assert len(empty) == 2


def test_long_names_do_not_overlap(tmp_path, monkeypatch):
    figures = []

    def save(figure, path):
        figures.append(figure)
        return path

    monkeypatch.setattr(plots, "save_figure", save)
    names = [f"{i}: Staffordshire bullterrier, Staffordshire" for i in range(12)]
    labels = np.arange(12)
    plots.confusion_matrix(tmp_path, labels, labels, names)
    mistakes = np.roll(labels, 1)
    images = np.zeros((12, 8, 8, 1), np.uint8)
    plots.predictions(tmp_path, labels, mistakes, lambda i: images[i], names)
    for figure in figures:
        figure.canvas.draw()
    confusion = figures[0].axes[0]
    places = [label.get_window_extent() for label in confusion.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in itertools.pairwise(places))
    assert max(len(label.get_text()) for label in confusion.get_xticklabels()) <= 20
    titles = [
        text.get_window_extent() for f in figures for a in f.axes for text in a.texts
    ]
    titles = [place for place in titles if place.width]
    pairs = itertools.combinations(titles[-8:], 2)
    assert not any(a.overlaps(b) for a, b in pairs)


def test_two_names_share_the_room_of_one(tmp_path):
    assert plots._both("cat", "dog") == "cat (dog)"
    assert plots._both("bullterrier", "wolfhound") == "bullter… (wolfhou…)"


def test_samples_are_kept_by_step_and_a_full_disk_costs_only_them(
    tmp_path, monkeypatch, told
):
    images = np.zeros((4, 8, 8, 1), np.uint8)
    assert plots.sample_grid(tmp_path, images, 12) == tmp_path / "samples.png"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"samples.png", "samples-000012.png"}

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(plots.shutil, "copyfile", full)
    assert plots.sample_grid(tmp_path, images, 13) is None
    assert len(told) == 1
