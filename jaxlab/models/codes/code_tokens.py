"""What priors over codes share: numbers of tokens, and noise on what is given."""

import jax
import jax.numpy as jnp

from jaxlab.core.ranges import Range, check_number
from jaxlab.core.typing import Array, Float, Int, Key
from jaxlab.nn.tokens import check_numbers

__all__ = ["drop_labels", "guide", "number_tokens", "replace_codes"]


def number_tokens(
    numbers: Int[Array, "*b"], count: int, start: int, name: str
) -> Int[Array, "*b"]:
    """Return the tokens of codes or labels, which begin at `start`.

    A number that is out of range would be a token of another kind. It is refused where
    its value is known; inside `jax.jit` its token is -1, whose vector is NaN.

    Args:
        numbers: From 0 to `count - 1`.
        count: How many there are.
        start: The token of number 0.
        name: What a number is, for the message.

    Raises:
        InputError: If a known number is out of range.
    """
    check_numbers(numbers, 0, count - 1, name, f"the {count} of this network")
    is_right = (numbers >= 0) & (numbers < count)
    return jnp.where(is_right, numbers + start, -1)


def drop_labels(
    key: Key[Array, ""], labels: Int[Array, " b"], rate: float, no_class: int
) -> Int[Array, " b"]:
    """Replace a share of the labels by `no_class`, so that a prior learns both.

    Args:
        key: Randomness, of the step.
        labels: Classes.
        rate: Chance of each label to be dropped; .1 is usual.
        no_class: The label that says nothing.

    Raises:
        InputError: If the rate is not between 0 and 1.

    References:
        Ho & Salimans 2022, "Classifier-Free Diffusion Guidance", algorithm 1,
        https://arxiv.org/abs/2207.12598.
    """
    check_number("rate of dropped labels", rate, Range(0, 1))
    return jnp.where(jax.random.bernoulli(key, rate, labels.shape), no_class, labels)


def replace_codes(
    key: Key[Array, ""], codes: Int[Array, "b t"], keep: float, num_codes: int
) -> Int[Array, "b t"]:
    """Replace some of the codes that a prior reads by random ones.

    It then learns to go on from codes that are not quite right, as its own are. The
    codes that it is to predict stay as they are.

    Args:
        key: Randomness, of the step.
        codes: What the prior would read.
        keep: Chance of each code to stay; 1 changes nothing.
        num_codes: Codes to draw from, all with the same chance.

    Raises:
        InputError: If `keep` is not between 0 and 1.

    References:
        Esser et al. 2021, "Taming Transformers for High-Resolution Image Synthesis",
        https://arxiv.org/abs/2012.09841, whose code calls it `pkeep`.
    """
    check_number("share of codes to keep", keep, Range(0, 1))
    keep_key, code_key = jax.random.split(key)
    others = jax.random.randint(code_key, codes.shape, 0, num_codes, codes.dtype)
    return jnp.where(jax.random.bernoulli(keep_key, keep, codes.shape), codes, others)


def guide(logits: Float[Array, "b2 ..."], scale: float) -> Float[Array, "b ..."]:
    """Mix logits by classifier-free guidance, `none + scale (class - none)`.

    Args:
        logits: Logits of all rows with their classes, then of all rows with no class.
        scale: 1 is the class alone, 0 no class, above 1 the class counts more.
    """
    cond, uncond = jnp.split(logits, 2)
    return uncond + scale * (cond - uncond)
