"""Small files of a run are whole, or told to be damaged."""

from typing import NamedTuple

import pytest

from jaxlab.core.errors import InputError
from jaxlab.core.recorded import record
from jaxlab.runs.run_files import read_config, read_metrics, read_network, write_fields
from tests.damage import check_reader


class Network(NamedTuple):
    width: int


FIELDS = {"maker": "ViT", "fields": {"width": 64}, "preprocessing": {"range": [-1, 1]}}
ROWS = [{"step": step, "train/loss": 1 / step} for step in range(1, 30)]


@pytest.fixture
def run(open_run):
    """Give a folder with all small files."""
    run = open_run()
    run.write_network(record(Network, width=64), class_names=("cat", "dog"))
    for row in ROWS:
        run.log(row["step"], {"train/loss": row["train/loss"]})
    run.close()
    return run.path


@pytest.mark.fuzz
@pytest.mark.parametrize(
    ("name", "read"), [("config.json", read_config), ("network.json", read_network)]
)
def test_no_damaged_configuration_passes(run, name, read):
    right = read(run)
    refused = check_reader(lambda file: read(file.parent), run / name, right.__eq__)
    assert refused > 0


@pytest.mark.fuzz
def test_damaged_rows_cost_no_others(run):
    def read(file):
        return read_metrics(file.parent)

    def is_right(found):
        # Rows have no checksums: a digit or a letter may be another one.
        return all(type(row["step"]) is int for row in found)

    assert check_reader(read, run / "metrics.jsonl", is_right) == 0
    lines = (run / "metrics.jsonl").read_text().splitlines()
    lines[3] = lines[3][:10]
    (run / "metrics.jsonl").write_text("\n".join(lines))
    assert read_metrics(run) == ROWS[:3] + ROWS[4:]


def test_a_changed_digit_is_seen(tmp_path):
    write_fields(
        tmp_path / "network.json", {**FIELDS, "class_names": [], "vocabulary": ""}
    )
    assert read_network(tmp_path)["fields"] == {"width": 64}
    text = (tmp_path / "network.json").read_text()
    (tmp_path / "network.json").write_text(text.replace("64", "65"))
    with pytest.raises(InputError, match=r"network\.json .* is not what was written"):
        read_network(tmp_path)


@pytest.mark.parametrize("name", ["config.json", "network.json"])
def test_what_is_nested_too_deep_is_damaged(run, name):
    (run / name).write_text("[" * 100_000)
    with pytest.raises(InputError, match=f"{name} cannot be read"):
        (read_config if name == "config.json" else read_network)(run)
    (run / "metrics.jsonl").write_text("[" * 100_000)
    assert read_metrics(run) == []
