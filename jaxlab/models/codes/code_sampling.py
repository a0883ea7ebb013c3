"""Codes drawn from a `CodeGPT`, in order; to be called under `jax.jit`."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxlab.core.errors import InputError
from jaxlab.core.ranges import Range, check_number
from jaxlab.core.typing import Array, Int, Key, Params
from jaxlab.models.codes.code_gpt import CodeGPT
from jaxlab.models.codes.code_tokens import guide, number_tokens
from jaxlab.models.decode.decoding import (
    NextToken,
    filter_logits,
    guided,
    pair_rows,
    sample,
)

__all__ = ["sample_by_windows", "sample_codes"]


def sample_codes(
    network: CodeGPT,
    params: Params,
    labels: Int[Array, " b"],
    given: Int[Array, "b n"] | None = None,
    hints: Int[Array, "b m"] | None = None,
    *,
    key: Key[Array, ""],
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Array, "b t"]:
    """Draw the codes of pictures, reading each code once.

    Args:
        network: The prior.
        params: The network's parameters.
        labels: Classes, or `network.num_classes` for none.
        given: The first codes of each picture (its upper half, say), which stay.
        hints: Codes of a second run, if the network takes them.
        key: Randomness; the i-th code to be drawn comes from `fold_in(key, i)`.
        guidance: Scale of classifier-free guidance, see `guided`: 1 samples by class,
            0 as if there were none, above 1 more of what tells the class.
        temperature: See `filter_logits`.
        top_k: See `filter_logits`.
        top_p: See `filter_logits`.

    Returns:
        All codes of each picture. Those drawn from logits that are no numbers, as
        those of a label out of range, are -1, which is no code.

    Raises:
        InputError: As `CodeGPT.join` and `filter_logits`, or if `guidance` is negative.
    """
    check_number("guidance", guidance, Range(0))
    given = _no_codes(labels) if given is None else given
    prompts = network.join(given, labels, hints)
    new = network.length - given.shape[1]
    if not new:
        return given
    apply: Any = functools.partial(network.apply, {"params": params})
    lengths = jnp.full(len(prompts), prompts.shape[1])

    def read(prompts: Array) -> Any:
        return apply(prompts, lengths, network.max_len, method="prefill")

    step: NextToken = functools.partial(apply, method="step")
    begin, state = read(prompts)
    if guidance != 1:
        _, blind = read(network.without_class(prompts))
        state = pair_rows(state, blind)
        step = guided(_forget_classes(network, step), guidance)
    drawn = sample(
        step,
        begin,
        state,
        key=key,
        max_new=new,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
    )
    codes = jnp.where(jnp.isnan(drawn.log_probs)[:, None], -1, drawn.tokens)
    return jnp.concatenate([given, codes], axis=1)


def _no_codes(labels: Array) -> Array:
    return jnp.zeros((len(labels), 0), jnp.int32)


def _forget_classes(network: CodeGPT, step: NextToken) -> NextToken:
    """Hide the class from every second row, which `guided` feeds the same tokens."""

    def half_blind(tokens: Array, state: Any, context: Any) -> tuple[Array, Any]:
        is_blind = jnp.arange(len(tokens)) % 2 == 1
        tokens = jnp.where(is_blind, network.without_class(tokens), tokens)
        return step(tokens, state, context)

    return half_blind


def sample_by_windows(
    network: CodeGPT,
    params: Params,
    labels: Int[Array, " b"],
    given: Int[Array, "b n"] | None = None,
    hints: Int[Array, "b y x"] | None = None,
    *,
    shape: tuple[int, int],
    window: tuple[int, int],
    key: Key[Array, ""],
    guidance: float = 1.0,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> Int[Array, "b y x"]:
    """Draw the codes of pictures larger than those of training.

    Each code is drawn as one of a window of the trained size, in whose middle it lies
    unless an edge of the picture is near: the network reads the part of the window
    that comes before it. Where the window is the picture, this is `sample_codes`.

    Args:
        network: The prior.
        params: The network's parameters.
        labels: As for `sample_codes`.
        given: As for `sample_codes`, row after row of the large picture.
        hints: Codes of a second run, one for each code of the large picture; they move
            with the window.
        shape: Rows and columns of the codes to draw.
        window: Rows and columns of a picture of training.
        key: As for `sample_codes`.
        guidance: As for `sample_codes`.
        temperature: See `filter_logits`.
        top_k: See `filter_logits`.
        top_p: See `filter_logits`.

    Raises:
        InputError: As `sample_codes`, or if the window is not a picture of the network,
            is larger than what is drawn, or there are not as many hints.

    References:
        Esser et al. 2021, https://arxiv.org/abs/2012.09841, figure 3.
    """
    check_number("guidance", guidance, Range(0))
    _check_window(network, shape, window, hints)
    given = _no_codes(labels) if given is None else given
    (rows, columns), (h, w), count = shape, window, given.shape[1]
    if count > rows * columns:
        raise InputError(
            f"{count} given codes are more than the {rows} x {columns} of shape"
        )
    # In the loop the values are no longer known.
    begun = number_tokens(given, network.num_codes, 0, "code")
    if hints is not None:
        number_tokens(hints, network.num_hints, 0, "hint")
    apply: Any = functools.partial(network.apply, {"params": params})
    begin = network.max_len - network.length  # tokens before the codes
    rest = jnp.zeros((len(labels), rows * columns - count), jnp.int32)
    start = jnp.concatenate([begun.astype(jnp.int32), rest], axis=1)

    def next_logits(codes: Array, place: Array) -> Array:
        row, column = place // columns, place % columns
        top = jnp.clip(row - h // 2, 0, rows - h)
        left = jnp.clip(column - w // 2, 0, columns - w)

        def cut(grid: Array) -> Array:
            grid = lax.dynamic_slice(grid, (0, top, left), (len(labels), h, w))
            return grid.reshape(len(labels), -1)

        part = None if hints is None else cut(hints)
        tokens = network.join(cut(codes.reshape(-1, rows, columns)), labels, part)
        if guidance != 1:
            tokens = jnp.concatenate([tokens, network.without_class(tokens)])
        before = begin - 1 + (row - top) * w + (column - left)
        logits = apply(tokens[:, :-1], before, method="next_logits")
        return guide(logits, guidance) if guidance != 1 else logits

    def draw(place: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
        codes, is_wrong = now
        logits = next_logits(codes, place)
        kept = filter_logits(logits, temperature, top_k, top_p)
        drawn = jax.random.categorical(jax.random.fold_in(key, place - count), kept)
        codes = lax.dynamic_update_slice_in_dim(codes, drawn[:, None], place, axis=1)
        return codes, is_wrong | jnp.isnan(logits).any(axis=-1)

    now = start, jnp.zeros(len(labels), bool)
    codes, is_wrong = lax.fori_loop(count, rows * columns, draw, now)
    is_drawn = jnp.arange(rows * columns)[None] >= count
    codes = jnp.where(is_wrong[:, None] & is_drawn, -1, codes)
    return codes.reshape(-1, rows, columns)


def _check_window(
    network: CodeGPT,
    shape: tuple[int, int],
    window: tuple[int, int],
    hints: Array | None,
) -> None:
    h, w = window
    if min(window) < 1 or h * w != network.length:
        raise InputError(
            f"window {h} x {w} is no picture of this network, which has "
            f"{network.length} codes"
        )
    if shape[0] < h or shape[1] < w:
        raise InputError(
            f"shape {shape[0]} x {shape[1]} is smaller than the window {h} x {w}"
        )
    expected = 0 if hints is None else network.length
    if network.hint_length != expected:
        raise InputError(
            f"hint_length {network.hint_length} of this network must be {expected}, "
            "one hint a code where hints are given: they move with the window"
        )
    if hints is not None and hints.shape[1:] != shape:
        raise InputError(f"hints of {hints.shape[1:]} are not of the shape {shape}")
