"""No picture ends a run."""

import errno

import pytest
from matplotlib.figure import Figure

from jaxlab.plots import figure as module
from jaxlab.plots.curves import learning_curves
from jaxlab.plots.figure import new_figure, picture, save_figure

TELL = module._tell  # before the tests' own takes its place
ROWS = [{"step": 1, "train/loss": 1.0}]


@picture
def bad_picture(error):
    """Fail."""
    raise error


@pytest.mark.parametrize(
    "error",
    [ValueError("two\nlines"), MemoryError(), RuntimeError("x" * 9000), KeyError("a")],
)
def test_what_fails_in_drawing_is_told_in_one_line(monkeypatch, capsys, error):
    monkeypatch.setattr(module, "_tell", TELL)
    assert bad_picture(error) is None
    shown = capsys.readouterr().err
    assert shown.startswith("picture bad picture is left out: it could not be drawn: ")
    assert type(error).__name__ in shown
    assert shown.count("\n") == 1
    assert len(shown) < 400


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_stops_a_run_stops_its_pictures(error):
    with pytest.raises(error):
        bad_picture(error())


def test_a_full_disk_costs_a_picture_and_leaves_no_half_of_one(
    tmp_path, monkeypatch, told
):
    def full(figure, path, **options):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    assert learning_curves(tmp_path, ROWS) is None
    assert told == [
        "picture learning curves is left out: it could not be drawn: OSError: "
        "[Errno 28] No space left on device"
    ]
    assert not [*tmp_path.iterdir()]


def test_an_older_picture_stays_where_a_new_one_fails(tmp_path, monkeypatch, told):
    path = learning_curves(tmp_path, ROWS)
    before = path.read_bytes()
    monkeypatch.setattr(Figure, "savefig", lambda *args, **options: 1 / 0)
    assert learning_curves(tmp_path, [*ROWS, *ROWS]) is None
    assert len(told) == 1
    assert path.read_bytes() == before


def test_a_figure_is_written_whole(tmp_path):
    path = save_figure(new_figure(2.0, 1.0), tmp_path / "a.png")
    assert [*tmp_path.iterdir()] == [path]
