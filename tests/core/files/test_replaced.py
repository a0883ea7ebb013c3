"""A file is the old one or the new one, and nothing lies beside it."""

import pytest

from jaxlab.core.files.replaced import replaced


@pytest.fixture
def file(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    return tmp_path / "a.txt"


def test_the_new_file_takes_the_place_of_the_old_one_at_the_end(file):
    with replaced(file) as part:
        part.write_text("new")
        assert file.read_text() == "old"
        assert part.parent == file.parent
    assert file.read_text() == "new"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("has_written", [True, False])
def test_where_writing_fails_the_old_one_stays_alone(file, error, has_written):
    def write():
        with replaced(file, "a.part.txt") as part:
            assert part.name == "a.part.txt"
            if has_written:
                part.write_text("half")
            raise error

    with pytest.raises(error):
        write()
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


def test_what_cannot_be_replaced_is_told(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    with pytest.raises(OSError, match="a"), replaced(tmp_path / "a") as part:
        part.touch()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
