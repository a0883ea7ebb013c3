"""Many equal blocks: as a Python loop or a scan, kept or recomputed."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Params
from jaxlab.nn.blocks import EncoderBlock

__all__ = ["EncoderStack", "stack_blocks", "unstack_blocks"]


class EncoderStack(nn.Module):
    """`depth` encoder blocks in a row.

    Attributes:
        depth: Blocks.
        block: Fields of `EncoderBlock`.
        drop_path_rate: Of the last block; it rises linearly from 0 at the first.
        scan: Compile one block and run it `depth` times: compile time no longer grows
            with depth. Parameters are stacked along a first axis (`stack_blocks`).
        remat: Recompute a block in the backward pass instead of keeping what is inside
            it: memory for time; saves most together with `scan`.
    """

    depth: int
    block: Mapping[str, Any]  # not dict: Linen freezes it
    drop_path_rate: float = 0.0
    scan: bool = False
    remat: bool = False

    @nn.compact
    def __call__(self, x: Array, *, train: bool) -> Array:
        rates = jnp.linspace(0.0, self.drop_path_rate, self.depth)
        fields = {**self.block, "has_drop_path": self.drop_path_rate > 0}

        def apply(block: EncoderBlock, x: Array, rate: Array) -> tuple[Array, None]:
            return block(x, rate, train=train), None

        if self.remat:
            apply = nn.remat(apply, prevent_cse=not self.scan)
        if not self.scan:
            for index in range(self.depth):
                block = EncoderBlock(**fields, name=f"block_{index}")
                x, _ = apply(block, x, rates[index])
            return x
        scanned = nn.scan(
            apply,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            length=self.depth,
        )
        return scanned(EncoderBlock(**fields, name="blocks"), x, rates)[0]


def stack_blocks(params: Params, *, prefix: str = "block_") -> Params:
    """Turn the parameters of a looped stack into those of a scanned one.

    Works on the dictionary that holds `block_0`, `block_1`, ...; other entries stay.

    Raises:
        InputError: If there is no such entry.
    """
    numbers = sorted(
        int(name.removeprefix(prefix)) for name in params if name.startswith(prefix)
    )
    if not numbers:
        raise InputError(f"no entry {prefix}0 among {', '.join(params)}")
    blocks = [params[f"{prefix}{number}"] for number in numbers]
    others = {k: v for k, v in params.items() if not k.startswith(prefix)}
    return {**others, "blocks": jax.tree.map(lambda *a: jnp.stack(a), *blocks)}


def unstack_blocks(params: Params, *, prefix: str = "block_") -> Params:
    """Undo `stack_blocks`.

    Raises:
        InputError: If there is no entry `blocks`.
    """
    if "blocks" not in params:
        raise InputError(f"no entry 'blocks' among {', '.join(params)}")
    others = {k: v for k, v in params.items() if k != "blocks"}
    depth = len(jax.tree.leaves(params["blocks"])[0])
    blocks = {
        f"{prefix}{i}": jax.tree.map(lambda a, i=i: a[i], params["blocks"])
        for i in range(depth)
    }
    return {**others, **blocks}
