"""What the loop (data, metrics, progress, checkpoints) adds to the bare step.

Per step, between the first and the last row of metrics: what is paid once (opening the
folder, the last checkpoint, the curves) is in the whole seconds.

python -m benchmarks.loop
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import optax

from benchmarks.harness import report, take_turns
from experiments.vit_cifar import DIGITS
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import make_mesh
from jaxlab.core.model import from_linen
from jaxlab.core.typing import PyTree
from jaxlab.data.batches import resident_batches
from jaxlab.data.images.augment import to_unit_range
from jaxlab.data.images.find import find_images
from jaxlab.data.order import Order
from jaxlab.models.vision.vit import ViT
from jaxlab.runs.run_files import read_metrics
from jaxlab.runs.run_folder import RunFolder
from jaxlab.runs.run_options import RunOptions
from jaxlab.train.engine import compile_step
from jaxlab.train.loop import fit
from jaxlab.train.optim import adamw
from jaxlab.train.state import init_state
from jaxlab.train.step import make_train_step

STEPS = 1020  # one checkpoint among them


def main() -> None:
    keep_freed_memory()
    mesh, images = make_mesh("data=1"), find_images("digits")
    # The model of `--data digits`, stem left out: about 10 ms a step on two cores.
    vit = from_linen(ViT(num_classes=10, patch_size=2, width=64, depth=2, num_heads=4))
    optimizer = adamw(1e-3)

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        logits, model_state = vit.apply(
            params, model_state, to_unit_range(batch["image"])
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean(), (model_state, {})

    def new_state() -> PyTree:
        example = np.zeros((1, *images.shape), np.float32)
        return init_state(vit, optimizer, jax.random.key(0), mesh, example)

    seconds: dict[str, list[float]] = {"bare steps": [], "fit": []}
    state = new_state()
    step = compile_step(make_train_step(loss_fn, optimizer), state, mesh)
    batches = resident_batches(images.train, Order(len(images.train), 64), mesh)
    step(state, next(batches(0)))  # compiles for both

    def bare() -> Callable[[], object]:
        def call() -> None:
            state = new_state()
            for t, batch in zip(range(STEPS), batches(0), strict=False):
                state, metrics = step(state, batch)
                if t == 0:
                    jax.block_until_ready(metrics)
                    before = time.perf_counter()
            jax.block_until_ready((state, metrics))
            seconds["bare steps"].append((time.perf_counter() - before) / (STEPS - 1))

        return call

    def looped() -> Callable[[], object]:
        def call() -> None:
            with tempfile.TemporaryDirectory() as folder:
                options = RunOptions(run_dir=f"{folder}/run")
                config = dataclasses.replace(DIGITS, run=options)
                with RunFolder("vit_cifar", config) as run:
                    fit(step, new_state(), batches, steps=STEPS, batch_size=64, run=run)
                rows = read_metrics(f"{folder}/run")
            spent = rows[-1]["seconds"] - rows[0]["seconds"]
            seconds["fit"].append(spent / (rows[-1]["step"] - rows[0]["step"]))

        return call

    timings = take_turns({"bare steps": bare, "fit": looped}, repeats=5)
    base = statistics.median(seconds["bare steps"])
    rows = [
        {
            "what": name,
            "ms_per_step": 1e3 * statistics.median(seconds[name]),
            "added_percent": 100 * (statistics.median(seconds[name]) / base - 1),
            "whole_seconds": timing.median,
        }
        for name, timing in timings.items()
    ]
    report("loop", f"{STEPS} steps of a small ViT: the loop beside the bare step", rows)


if __name__ == "__main__":
    main()
