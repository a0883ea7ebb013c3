"""What a decoder may generate, and which tokens end a row."""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.core.typing import Array

__all__ = ["Adjust", "DecodingRules", "Ends"]

# The token that ends a row, or any of several; None: there is none.
Ends: TypeAlias = int | Sequence[int] | None
# (logits (b, v) float32, t ()) -> logits: t tokens have been generated before.
Adjust: TypeAlias = Callable[[Array, Array], Array]


class DecodingRules(NamedTuple):
    """What may be generated; the fields are arguments of `greedy`.

    Raises:
        InputError: By `check` and `logits`, if a number or token is out of range.
    """

    max_new: int
    eos: Ends
    pad: int
    min_new: int
    forbidden: Sequence[int]
    adjust: Adjust | None

    @property
    def ends(self) -> tuple[int, ...]:
        """The tokens that end a row."""
        if self.eos is None:
            return ()
        several = self.eos if isinstance(self.eos, Sequence) else [self.eos]
        return tuple(dict.fromkeys(map(int, several)))

    def is_end(self, tokens: Array) -> Array:
        """Tell which tokens end a row."""
        found = [tokens == end for end in self.ends]
        return functools.reduce(operator.or_, found, jnp.zeros(tokens.shape, bool))

    def check(self) -> None:
        """Refuse lengths that cannot be."""
        if self.max_new < 1:
            raise InputError(f"max_new {self.max_new} is not at least 1")
        if not 0 <= self.min_new <= self.max_new:
            raise InputError(
                f"min_new {self.min_new} is not between 0 and max_new {self.max_new}"
            )

    def logits(self, raw: Array, t: Array) -> tuple[Array, Array]:
        """Give the model's logits `(b, v)`, and those with -inf at what may not come.

        The latter are for choosing; probabilities are not normalised anew.
        """
        v = raw.shape[-1]
        for token in (*self.forbidden, *self.ends):
            if not 0 <= token < v:
                raise InputError(
                    f"token {token} (eos or forbidden) is not in the vocabulary of {v}"
                )
        late = set(self.ends) if self.min_new else set()
        if len(late.union(self.forbidden)) == v:
            raise InputError(f"all {v} tokens are forbidden; leave at least one")
        raw = raw.astype(jnp.float32)
        if self.adjust is not None:
            raw = self.adjust(raw, t)
        allowed = raw
        if self.forbidden:
            banned = np.isin(np.arange(v), list(self.forbidden))
            allowed = jnp.where(banned[None], -jnp.inf, allowed)
        if late:
            is_early = self.is_end(jnp.arange(v)) & (t < self.min_new)
            allowed = jnp.where(is_early[None], -jnp.inf, allowed)
        return raw, allowed
