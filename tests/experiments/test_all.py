"""What every experiment promises, on one table of experiments."""

import dataclasses
import importlib
import json
import math
import os
import random
import signal
import typing

import jax
import pytest
from matplotlib.figure import Figure

from jaxlab.core.ranges import Range, check_fields
from jaxlab.evals.open_run import open_run
from jaxlab.runs.interrupts import Interrupted
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_options import RunOptions

# Name: fields of a short run that are not its SMOKE's.
EXPERIMENTS = {
    "gbdt_tabular": {"subsample": 0.5},
    "lm_shakespeare": {"model": "gru"},
    "translate_multi30k": {"num_buckets": 2, "beams": 1, "max_len": 12},
    "vit_cifar": {},
    "wasserstein_duality": {"loss": "sn"},
    "wgan_cifar": {"model": "mlp", "num_samples": 64},
    "wgan_toy": {},
}
# One experiment for each kind of state, with its learning rate (0: the recipe's).
KINDS = {"vit_cifar": 0.003, "wgan_toy": 0.0, "gbdt_tabular": 0.1}


@pytest.fixture(params=EXPERIMENTS)
def experiment(request):
    return importlib.import_module(f"experiments.{request.param}")


def name_of(experiment):
    """Give the name that an experiment has on the command line."""
    return experiment.__name__.rpartition(".")[-1]


def short(experiment, folder):
    """Give the configuration of a short run that often logs and saves."""
    run = RunOptions(run_dir=str(folder), log_every=1, save_every=3, mesh="data=1")
    chosen = dict(EXPERIMENTS[name_of(experiment)])
    if "eval_every" in {field.name for field in dataclasses.fields(experiment.Config)}:
        chosen["eval_every"] = 4
    return dataclasses.replace(experiment.SMOKE, run=run, steps=8, **chosen)


def test_a_wrong_flag_ends_with_one_line_and_code_2(experiment, command):
    code, out, err = command(name_of(experiment), "--stepz", 4)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert "did you mean --steps?" in err


def test_every_field_of_the_configuration_is_a_flag(experiment, command):
    code, out, _ = command(name_of(experiment), "--help")
    assert code == 0
    for field in dataclasses.fields(experiment.Config):
        if field.name != "run":
            assert f"--{field.name.replace('_', '-')}" in out


def test_every_number_of_the_configuration_has_a_range(experiment):
    def bare(config):
        hints = typing.get_type_hints(config, include_extras=True)
        return [
            name
            for name, hint in hints.items()
            if {hint, *typing.get_args(hint)} & {int, float}
            and not any(isinstance(n, Range) for n in getattr(hint, "__metadata__", ()))
        ]

    assert bare(experiment.Config) == bare(RunOptions) == []
    for config in (experiment.Config(), experiment.SMOKE):
        check_fields(config)


@pytest.mark.slow
def test_a_run_that_is_stopped_ends_as_if_it_had_not_been(
    experiment, tmp_path, monkeypatch, assert_same_run, capsys
):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    summarised = []  # when a picture is drawn

    def save(figure, path, **options):
        path.touch()
        summarised.append((whole / "summary.json").exists())

    monkeypatch.setattr(Figure, "savefig", save)
    metrics = experiment.main(short(experiment, whole))
    assert summarised[-1]  # before the last pictures, which may fail
    assert all(map(math.isfinite, metrics.values()))
    # A run that was resumed is stopped, too: of one experiment, since each start costs.
    times = 2 if name_of(experiment) == "vit_cifar" else 1
    fit, stops = experiment.fit, sorted(random.sample(range(1, 7), times))
    for last in stops:

        def interrupted(step, state, batches, last=last, **options):
            def stopping(start):
                for number, batch in enumerate(batches(start), start):
                    if number == last:  # Ctrl-C while the update is made
                        os.kill(os.getpid(), signal.SIGINT)
                    yield batch

            return fit(step, state, stopping, **options)

        with monkeypatch.context() as patched:
            patched.setattr(experiment, "fit", interrupted)
            with pytest.raises(Interrupted, match=f"--run-dir {broken}"):
                experiment.main(short(experiment, broken))
        assert read_metrics(broken)[-1]["step"] == last + 1
    capsys.readouterr()
    assert experiment.main(short(experiment, broken)) == metrics
    assert f"resumed from step {last + 1}" in capsys.readouterr().out
    assert_same_run(whole, broken, note=f"{stops=}")
    opened = open_run(whole)
    assert opened.experiment == name_of(experiment)
    if opened.experiment != "gbdt_tabular":  # an estimator has none
        assert jax.tree.leaves(opened.params)
    summaries = [json.loads((f / "summary.json").read_text()) for f in (whole, broken)]
    assert summaries[0]["metrics"] == summaries[1]["metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_run_that_is_killed_ends_as_if_it_had_not_been(
    name, start, finish, kill_at, assert_same_run, command, tmp_path
):
    def flags(folder):
        is_fast = name == "gbdt_tabular"
        steps, save_every = (100, 10) if is_fast else (30, 3)
        often = ["--log-every", 1, "--save-every", save_every, "--mesh", "data=1"]
        return [name, "--smoke", "--steps", steps, *often, "--run-dir", folder]

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    # Past the third checkpoint: while it is written, the second lies on disk.
    step = random.randint(10, 20) + (30 if name == "gbdt_tabular" else 0)
    both = start(*flags(whole)), start(*flags(broken))
    kill_at(both[1], broken, step)
    finish(both[0])
    out, _ = finish(start(*flags(broken)))
    assert "resumed from step" in out
    assert_same_run(whole, broken, note=f"{step=}")
    code, _, err = command(*flags(broken), "--learning-rate", 0.5)
    assert code == 2
    assert f"learning_rate is {KINDS[name]} there, 0.5 here" in err


def test_a_wrong_value_ends_a_process_with_one_line_and_code_2(start, finish):
    out, err = finish(start("vit_cifar", "--data", "digits", "--patch-size", 3), code=2)
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: patch_size 3 does not divide")
