"""The examples of the documents run, and what they show holds."""

import dataclasses
import importlib.util
import pathlib

import pytest

from jaxlab.core.errors import InputError
from jaxlab.evals.open_run import open_run
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions

EXAMPLES = pathlib.Path(__file__).parents[2] / "docs" / "examples"


def load(name):
    """Import an example, which lies in no package."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def smoke(module, folder, **fields):
    run = RunOptions(run_dir=str(folder), log_every=1, mesh="data=1")
    return dataclasses.replace(module.SMOKE, run=run, **fields)


@pytest.mark.slow
def test_a_contrast_of_the_whole_batch_has_a_schedule(tmp_path):
    simclr = load("simclr_digits")
    metrics = simclr.main(smoke(simclr, tmp_path / "run"))
    assert 0.5 < metrics["untrained"] <= 1
    found = [row["train/temperature"] for row in read_metrics(tmp_path / "run")]
    assert found == pytest.approx([1.0, 5 / 6, 2 / 3])


@pytest.mark.slow
def test_a_second_stage_opens_the_first(tmp_path):
    vqvae = load("vqvae_digits")
    vqvae.main(smoke(vqvae, tmp_path / "one"))
    both = {"stage1": str(tmp_path / "one"), "run": tmp_path / "two"}
    vqvae.main(smoke(vqvae, both["run"], stage1=both["stage1"]))
    second = open_run(both["run"])
    first = open_run(both["stage1"], makers={"VQVAE": vqvae.VQVAE})
    assert second.config["fingerprint"] == first.fingerprint
    assert second.network.vocab_size == first.network.num_codes + 1
    vqvae.main(smoke(vqvae, tmp_path / "other", seed=1))
    other = smoke(vqvae, both["run"], stage1=str(tmp_path / "other"))
    with pytest.raises(InputError, match="fingerprint is"):
        vqvae.main(other)


@pytest.mark.slow
def test_a_forest_stands_on_the_grower_alone():
    assert load("forest").main(trees=10) > 0.92
