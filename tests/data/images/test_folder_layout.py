"""One rule tells splits from classes; what fits neither is refused."""

import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.images.folder_layout import describe_layout, find_layout


def write(root, *files):
    """Write files of which only the names are looked at."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"image")


def names(root):
    """Give the files of each class of each split, by their paths below the root."""
    return {
        kind: {
            name: [str(file.relative_to(root)) for file in files]
            for name, files in found.files_of.items()
            if files
        }
        for kind, found in find_layout(root).items()
    }


def test_folders_are_classes_where_none_is_named_as_a_split(tmp_path):
    write(tmp_path, "dog/1.png", "cat/2.JPG", "cat/deep/1.ppm", "cat/notes.txt")
    assert names(tmp_path) == {
        "train": {"cat": ["cat/2.JPG", "cat/deep/1.ppm"], "dog": ["dog/1.png"]}
    }
    assert describe_layout(find_layout(tmp_path)) == "classes: cat 2, dog 1"


@pytest.mark.parametrize(
    ("train", "valid", "test"),
    [
        ("train", "valid", "test"),
        ("Train", "Val", "Test"),
        ("TRAINING", "dev", "testing"),
        ("training", "eval", "TEST"),
        ("train", "validation", "Testing"),
    ],
)
def test_splits_are_known_by_many_names_and_in_any_case(tmp_path, train, valid, test):
    write(tmp_path, *(f"{split}/a/1.png" for split in (train, valid, test)))
    assert names(tmp_path) == {
        "train": {"a": [f"{train}/a/1.png"]},
        "valid": {"a": [f"{valid}/a/1.png"]},
        "test": {"a": [f"{test}/a/1.png"]},
    }
    assert next(iter(find_layout(tmp_path))) == "train"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["train/1.png", "test/1.png"], "test is named as a split, but has images"),
        (["bus/1.png", "train/1.png"], r"all classes as train/train/\*\.png"),
        (["train/a/1.png", "cat/1.png"], "the splits train, and beside them cat"),
        (["train/a/1.png", "cat/b/1.png"], "the splits train, and beside them cat"),
        (
            ["train/a/1.png", "val/a/1.png", "valid/a/1.png"],
            "several folders of one split, valid: train, val, valid",
        ),
        (["train/a/1.png", "Train/a/1.png"], "several folders of one split, train"),
        (["val/a/1.png", "test/a/1.png"], "the splits test, val and no train"),
        (["train/train/a/1.png", "train/test/a/1.png"], "so are the folders in it"),
        (["train/a/1.png", "test/b/1.png"], "the split test has the classes b"),
        (["1.png", "notes.txt"], r"no images to train on; lay them out as train/CLAS"),
        (["train/a/notes.txt", "test/a/1.png"], "no images to train on"),
    ],
)
def test_what_may_be_either_is_refused(tmp_path, files, message):
    write(tmp_path, *files)
    with pytest.raises(InputError, match=message) as caught:
        find_layout(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_class_in_a_split_may_have_the_name_of_one(tmp_path):
    write(tmp_path, "train/train/1.png", "train/bus/1.png")
    assert names(tmp_path)["train"].keys() == {"bus", "train"}


def test_what_nobody_put_there_is_no_class_and_no_image(tmp_path):
    write(tmp_path, "a/1.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/._1.png")
    write(tmp_path, "__MACOSX/a/1.png", "@eaDir/1.png", ".git/1.png", "a/@eaDir/1.png")
    assert names(tmp_path) == {"train": {"a": ["a/1.png"]}}


def test_what_is_left_out_is_told(tmp_path):
    write(tmp_path, "train/a/1.png", "train/1.png", "train/b/notes.txt")
    write(tmp_path, "test/a/1.png")
    (tmp_path / "valid" / "a").mkdir(parents=True)
    (tmp_path / "train" / "c").mkdir()
    (tmp_path / "train" / "a" / "2.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "train" / "d").symlink_to(tmp_path / "nowhere")
    splits = find_layout(tmp_path)
    assert splits.keys() == {"train", "test"}
    assert splits["train"].names == ("a",)
    assert describe_layout(splits) == (
        "classes: a 1; left out: 1 images outside of a class, 2 links to nothing, "
        "the empty class b, the empty class c"
    )


def test_many_classes_are_told_in_short(tmp_path):
    write(tmp_path, *(f"{number}/1.png" for number in range(30)), "7/2.png")
    assert describe_layout(find_layout(tmp_path)) == "30 classes of 1 to 2 images"


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    write(tmp_path, "far/1.png", "far/deep/2.png", "set/dog/1.png")
    (tmp_path / "set" / "cat").symlink_to(tmp_path / "far")
    (tmp_path / "far" / "deep" / "up").symlink_to(tmp_path / "far")
    (tmp_path / "set" / "dog" / "all").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "dog" / "self").symlink_to(tmp_path / "set" / "dog" / "self")
    assert names(tmp_path / "set") == {
        "train": {"cat": ["cat/1.png", "cat/deep/2.png"], "dog": ["dog/1.png"]}
    }


def test_a_split_that_is_a_link_to_nothing_is_refused(tmp_path):
    write(tmp_path, "train/a/1.png")
    (tmp_path / "test").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"test is a link to nothing"):
        find_layout(tmp_path)


def test_a_folder_may_be_named_like_an_image(tmp_path):
    write(tmp_path, "a/1.png", "a/more.png/2.png", "b.png/1.png")
    assert names(tmp_path) == {
        "train": {"a": ["a/1.png", "a/more.png/2.png"], "b.png": ["b.png/1.png"]}
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [("training_set", "test_set"), ("seg_train", "seg_test"), ("train2017", "val2017")],
)
def test_names_that_look_like_splits_are_no_classes(tmp_path, train, test):
    write(tmp_path, f"{train}/cat/1.png", f"{test}/cat/1.png")
    with pytest.raises(InputError, match=r"look like splits; name them .*train"):
        find_layout(tmp_path)
