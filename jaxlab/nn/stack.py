"""Many equal blocks: as a Python loop or a scan, kept or recomputed."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array, Params
from jaxlab.nn.attention import KeyValues
from jaxlab.nn.blocks import Block

__all__ = ["Stack", "stack_blocks", "unstack_blocks"]


class Stack(nn.Module):
    """`depth` blocks in a row.

    Attributes:
        depth: Blocks.
        fields: Of each `Block`.
        drop_path_rate: Of the last block; it rises linearly from 0 at the first.
        scan: Compile one block and run it `depth` times: compile time no longer grows
            with depth. Parameters are stacked along a first axis (`stack_blocks`).
        remat: Recompute a block in the backward pass instead of keeping what is inside
            it: memory for time; saves most together with `scan`.
    """

    depth: int
    fields: Mapping[str, Any]  # not dict: Linen freezes it
    drop_path_rate: float = 0.0
    scan: bool = False
    remat: bool = False

    def setup(self) -> None:
        fields = {**self.fields, "has_drop_path": self.drop_path_rate > 0}
        if self.scan:
            self.blocks = Block(**fields)
        else:  # Linen names them block_0, block_1, ...
            self.block = [Block(**fields) for _ in range(self.depth)]

    def __call__(
        self,
        x: Array,
        visible: Array | None = None,
        memory: Array | None = None,
        memory_visible: Array | None = None,
        *,
        train: bool,
    ) -> Array:
        """Pass tokens through all blocks; the arguments are those of `Block`."""
        rates = jnp.linspace(0.0, self.drop_path_rate, self.depth)

        def apply(block: Block, x: Array, rate: Array) -> tuple[Array, None]:
            masks = (visible, memory, memory_visible)
            return block(x, rate, *masks, train=train), None

        if self.remat:
            apply = nn.remat(apply, prevent_cse=not self.scan)
        if self.scan:
            return _scanned(apply, self.depth, 0)(self.blocks, x, rates)[0]
        for index, block in enumerate(self.block):
            x, _ = apply(block, x, rates[index])
        return x

    def read(self, memory: Array) -> Any:
        """Project a memory for each block; what it gives has rows first."""
        if not self.scan:
            return tuple(block.read(memory) for block in self.block)

        def read(block: Block, carry: None, _: None) -> tuple[None, KeyValues]:
            return None, block.read(memory)

        return _scanned(read, self.depth, 1)(self.blocks, None, None)[1]

    def make_cache(self, rows: int, max_len: int) -> Any:
        """Give room for `max_len` tokens of each row, rows first."""
        fields = Block(**self.fields, parent=None)
        heads = fields.num_kv_heads or fields.num_heads
        layers = (self.depth,) if self.scan else ()
        shape = (rows, *layers, heads, max_len, fields.width // fields.num_heads)

        def empty() -> KeyValues:
            return KeyValues(*(jnp.zeros(shape, fields.dtype) for _ in range(2)))

        return empty() if self.scan else tuple(empty() for _ in range(self.depth))

    @nn.nowrap
    def grow_cache(self, cache: Any, max_len: int) -> Any:
        """Give a cache room for `max_len` tokens in all."""

        def grow(array: Array) -> Array:
            room = [(0, 0)] * array.ndim
            room[-2] = (0, max_len - array.shape[-2])
            return jnp.pad(array, room)

        return jax.tree.map(grow, cache)

    def extend(
        self,
        x: Array,
        cache: Any,
        start: Array,
        memory: Any = None,
        memory_visible: Array | None = None,
    ) -> tuple[Array, Any]:
        """Pass new tokens through all blocks; see `Block.extend`.

        Args:
            x: New tokens.
            cache: Of `make_cache`, or what the last call gave.
            start: Earlier tokens of each row.
            memory: Of `read`.
            memory_visible: Which tokens see which of the memory.

        Returns:
            The outputs for the new tokens, and the new cache.
        """
        if not self.scan:
            filled = []
            for index, block in enumerate(self.block):
                of_block = None if memory is None else memory[index]
                x, new = block.extend(x, cache[index], start, of_block, memory_visible)
                filled.append(new)
            return x, tuple(filled)

        def extend(block: Block, x: Array, layer: Any) -> tuple[Array, KeyValues]:
            return block.extend(x, layer[0], start, layer[1], memory_visible)

        return _scanned(extend, self.depth, 1)(self.blocks, x, (cache, memory))


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


def _scanned(
    apply: Callable[..., tuple], depth: int, axis: int
) -> Callable[..., tuple]:
    """Run a function of a block over all of them, with its inputs' axis of layers."""
    return nn.scan(
        apply,
        variable_axes={"params": 0, "intermediates": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=axis,
        out_axes=axis,
        length=depth,
    )
