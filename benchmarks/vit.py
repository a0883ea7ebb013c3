"""Training steps of ViT-Ti/4 on 32 x 32 images, jaxlab beside torch.

python -m benchmarks.vit
"""

import argparse
import functools
from typing import Any

import jax
import numpy as np
import optax

from benchmarks.harness import Call, Candidate, report, take_turns
from benchmarks.training import meshes, training_step
from jaxlab.core.host_memory import keep_freed_memory
from jaxlab.core.mesh import use_cpu_devices
from jaxlab.core.model import from_linen
from jaxlab.core.precision import Precision, compute_dtype
from jaxlab.models.vision.vit import ViT
from jaxlab.train.optim import adamw

SIZES: dict[str, Any] = {
    "width": 192,
    "num_heads": 3,
    "patch_size": 4,
    "num_classes": 10,
}


def data(batch_size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, 32, 32, 3)).astype(np.float32)
    return {"image": images, "label": rng.integers(0, 10, batch_size, np.int32)}


def jax_step(batch_size: int, depth: int, mesh: str, precision: Precision) -> Call:
    vit = from_linen(ViT(depth=depth, dtype=compute_dtype(precision), **SIZES))
    optimizer = adamw(1e-3, weight_decay=0.05)

    def loss_fn(params, model_state, batch, context):  # type: ignore[no-untyped-def]
        logits, model_state = vit.apply(
            params, model_state, batch["image"], key=context.key, train=True
        )
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
        return losses.mean(), (model_state, {})

    batch = data(batch_size)
    return training_step(vit, loss_fn, optimizer, batch, mesh, batch["image"][:1])


def torch_step(batch_size: int, depth: int, precision: Precision) -> Call:
    import torch

    from benchmarks import torch_training
    from benchmarks.torch_vit import TorchViT

    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = getattr(torch, precision)
    model = TorchViT(image_size=32, depth=depth, **SIZES).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    batch = data(batch_size)
    images = torch.tensor(batch["image"].transpose(0, 3, 1, 2).copy(), device=device)
    labels = torch.tensor(batch["label"].astype(np.int64), device=device)

    def loss() -> torch.Tensor:
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            logits = model(images)
        return torch.nn.functional.cross_entropy(logits.float(), labels)

    return torch_training.training_step(optimizer, loss)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--depth", type=int, default=12)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    keep_freed_memory()
    use_cpu_devices("")
    size, depth = options.batch_size, options.depth
    on_cpu = jax.default_backend() == "cpu"
    candidates: dict[str, Candidate] = {}
    precisions: list[Precision] = ["float32"] if on_cpu else ["float32", "bfloat16"]
    for precision in precisions:
        try:
            import torch  # noqa: F401

            candidates[f"torch {precision}"] = functools.partial(
                torch_step, size, depth, precision
            )
        except ImportError:
            print("torch is not installed: no peer")
        for mesh in meshes():
            candidates[f"jaxlab {precision} {mesh}"] = functools.partial(
                jax_step, size, depth, mesh, precision
            )
    timings = take_turns(candidates, options.repeats)
    rows = []
    for name, timing in timings.items():
        peer = timings.get(f"torch {name.split()[1]}")
        rows.append(
            {
                "step": name,
                "cold_seconds": timing.cold,
                "warm_seconds": timing.median,
                "images_per_second": size / timing.median,
                "times_torch": peer.median / timing.median if peer else "-",
            }
        )
    report("vit", f"ViT-Ti/4, depth {depth}, batch {size}: one training step", rows)


if __name__ == "__main__":
    main()
