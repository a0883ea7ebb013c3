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

    A block of one's own is a module whose call takes the tokens, a drop-path rate (0
    where `drop_path_rate` is 0) and the stack's other inputs, with a keyword `train`,
    and returns the new tokens. For decoding it also has `read`, `extend` and
    `make_cache`, as `Block` has.

    Attributes:
        depth: Number of blocks.
        fields: Fields of each block.
        drop_path_rate: Rate of the last block; it rises linearly from 0 at the first.
            Above 0, blocks are made with `has_drop_path=True`.
        scan: Compile one block and run it `depth` times: compile time no longer grows
            with depth. Parameters are stacked along a first axis (`stack_blocks`).
        remat: Recompute a block in the backward pass instead of keeping what is inside
            it: memory for time; saves most together with `scan`.
        make_block: The class of the blocks, or another function of the fields.
    """

    depth: int
    fields: Mapping[str, Any]  # not dict: Linen freezes it
    drop_path_rate: float = 0.0
    scan: bool = False
    remat: bool = False
    make_block: Callable[..., Any] = Block

    def setup(self) -> None:
        fields = dict(self.fields)
        if self.drop_path_rate > 0:
            fields["has_drop_path"] = True
        if self.scan:
            self.blocks = self.make_block(**fields)
        else:  # Linen names them block_0, block_1, ...
            self.block = [self.make_block(**fields) for _ in range(self.depth)]

    def __call__(self, x: Array, *inputs: Any, train: bool) -> Array:
        """Apply all blocks.

        Args:
            x: Tokens.
            inputs: What every block is given beside them; see its call.
            train: Whether to drop.
        """
        return self._apply(x, inputs, train, keeps=False)[-1]

    def layers(self, x: Array, *inputs: Any, train: bool) -> list[Array]:
        """Apply all blocks, and return what each of them gives."""
        return self._apply(x, inputs, train, keeps=True)

    def _apply(self, x: Array, inputs: tuple, train: bool, *, keeps: bool) -> list:
        """Return what the blocks give, or what the last of them does."""
        rates = jnp.linspace(0.0, self.drop_path_rate, self.depth)

        def apply(block: Any, x: Array, rate: Array) -> tuple[Array, Array | None]:
            x = block(x, rate, *inputs, train=train)
            return x, x if keeps else None

        if self.remat:
            apply = nn.remat(apply, prevent_cse=not self.scan)
        if self.scan:
            x, outputs = _scanned(apply, self.depth, 0)(self.blocks, x, rates)
            return list(outputs) if keeps else [x]
        outputs = []
        for index, block in enumerate(self.block):
            x, _ = apply(block, x, rates[index])
            outputs.append(x)
        return outputs

    def read(self, memory: Array) -> Any:
        """Project a memory for each block; what it gives has rows first."""
        if not self.scan:
            return tuple(block.read(memory) for block in self.block)

        def read(block: Block, carry: None, _: None) -> tuple[None, KeyValues]:
            return None, block.read(memory)

        return _scanned(read, self.depth, 1)(self.blocks, None, None)[1]

    def make_cache(self, rows: int, max_len: int) -> Any:
        """Make room for `max_len` tokens of each row, rows first."""
        block = self.make_block(**self.fields, parent=None)
        caches = tuple(block.make_cache(rows, max_len) for _ in range(self.depth))
        if not self.scan:
            return caches
        return jax.tree.map(lambda *layers: jnp.stack(layers, 1), *caches)

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
        variable_axes={True: 0},  # whatever a block keeps, by layer
        split_rngs={"params": True, "dropout": True},
        in_axes=axis,
        out_axes=axis,
        length=depth,
    )
