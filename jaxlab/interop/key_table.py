"""Tables that map the weights of another library to our parameters, and back.

A table is a list of `Rule`s. Every weight must be used, every parameter filled and
every shape right, or nothing is converted: a weight that is silently left out gives a
network that runs, and is wrong.
"""

import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from jaxlab.core.errors import InputError
from jaxlab.core.pytree import flat_paths
from jaxlab.core.typing import Params

__all__ = [
    "CONV",
    "FLAT",
    "KEEP",
    "LINEAR",
    "LINEAR_JOIN",
    "Rule",
    "Transform",
    "as_array",
    "linear",
    "norm",
    "to_params",
    "to_weights",
]

_MAX_NAMES = 6  # in one message


class Transform(NamedTuple):
    """How one array changes.

    Attributes:
        load: Their array to ours, up to a last reshape to the shape of the parameter.
        save: Our array to theirs, exactly.
    """

    load: Callable[[Any], Any]
    save: Callable[[Any], Any]


KEEP = Transform(lambda a: a, lambda a: a)
# Biases of several heads, (h, k), that torch keeps as one vector.
FLAT = Transform(lambda a: a, lambda a: a.reshape(-1))
# torch's (out, in) to Dense's (in, out), or to (in, h, k) of DenseGeneral.
LINEAR = Transform(lambda a: a.T, lambda a: a.reshape(a.shape[0], -1).T)
# torch's (out, in) to (h, k, out): a DenseGeneral that joins heads.
LINEAR_JOIN = Transform(lambda a: a.T, lambda a: a.reshape(-1, a.shape[-1]).T)
# torch's (out, in, y, x) to (y, x, in, out).
CONV = Transform(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))


class Rule(NamedTuple):
    """One line of a table: a weight of theirs is a parameter of ours.

    Attributes:
        source: Their key; `{i}` stands for a number, as in `layers.{i}.norm.weight`.
        target: Our path with the same `{i}`, such as `encoder/block_{i}/norm/scale`.
        transform: How the array changes.
        part: `(k, n)`: part k of n equal ones along their first axis, for weights that
            hold several of ours (queries, keys and values; the gates of a GRU).
    """

    source: str
    target: str
    transform: Transform = KEEP
    part: tuple[int, int] = (0, 1)


def linear(source: str, target: str, transform: Transform = LINEAR) -> tuple[Rule, ...]:
    """Give the two rules of a torch layer with weight and bias."""
    return (
        Rule(f"{source}.weight", f"{target}/kernel", transform),
        Rule(f"{source}.bias", f"{target}/bias", FLAT),
    )


def norm(source: str, target: str) -> tuple[Rule, ...]:
    """Give the two rules of a torch normalisation."""
    return (
        Rule(f"{source}.weight", f"{target}/scale"),
        Rule(f"{source}.bias", f"{target}/bias"),
    )


def to_params(
    weights: Mapping[str, Any],
    rules: Sequence[Rule],
    shapes: Params,
    *,
    ignore: Mapping[str, str] | None = None,
) -> Params:
    """Convert weights of another library to our parameters.

    Args:
        weights: Arrays by key; anything that `np.asarray` understands.
        rules: The table.
        shapes: The parameters wanted: a tree of arrays or `jax.ShapeDtypeStruct`s.
        ignore: Keys (with `{i}` as in rules) that may be left out, and why.

    Returns:
        NumPy arrays in the structure, shapes and dtypes of `shapes`.

    Raises:
        InputError: If a weight is missing, left over or of another shape, or a
            parameter is in no rule: names all of them.
    """
    wanted = flat_paths(shapes)
    sources = {path: _find(path, rules) for path in wanted}
    used = {found[0] for found in sources.values() if found}
    ignored = [_regex(pattern) for pattern in ignore or {}]
    faults = {
        "missing": sorted(used - set(weights)),
        "not known": [
            key
            for key in weights
            if key not in used and not any(regex.fullmatch(key) for regex in ignored)
        ],
        "with no counterpart": [path for path, found in sources.items() if not found],
        "of another shape": [],
    }
    flat = {}
    for path, found in sources.items():
        if found is None or found[0] not in weights:
            continue
        key, rule = found
        array, leaf = as_array(key, weights[key]), wanted[path]
        expected = _source_shape(rule, leaf)
        if array.shape != expected:
            faults["of another shape"].append(f"{key} {array.shape} not {expected}")
            continue
        index, parts = rule.part
        share = np.split(array, parts)[index] if parts > 1 else array
        flat[path] = rule.transform.load(share).reshape(leaf.shape).astype(leaf.dtype)
    _refuse(faults, "the weights do not fit the model")
    return traverse_util.unflatten_dict(flat, sep="/")


def to_weights(params: Params, rules: Sequence[Rule]) -> dict[str, np.ndarray]:
    """Convert our parameters to weights of another library: undo `to_params`.

    Raises:
        InputError: If a parameter is in no rule, or a part of a weight is missing.
    """
    parts: dict[str, dict[int, np.ndarray]] = {}
    faults: dict[str, list[str]] = {"with no counterpart": [], "incomplete": []}
    counts = {}
    for path, leaf in flat_paths(params).items():
        found = _find(path, rules)
        if found is None:
            faults["with no counterpart"].append(path)
            continue
        key, rule = found
        index, counts[key] = rule.part
        parts.setdefault(key, {})[index] = rule.transform.save(np.asarray(leaf))
    faults["incomplete"] = [key for key in parts if len(parts[key]) < counts[key]]
    _refuse(faults, "the parameters do not fit the table")
    return {
        key: np.concatenate([shares[index] for index in sorted(shares)])
        if counts[key] > 1
        else np.ascontiguousarray(shares[0])
        for key, shares in parts.items()
    }


@functools.cache
def _regex(pattern: str) -> re.Pattern[str]:
    """Turn `a.{i}.b` to a regular expression with a named group of digits."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>\\d+)", re.escape(pattern)))


def _find(path: str, rules: Iterable[Rule]) -> tuple[str, Rule] | None:
    """Find the rule that fills a path, and the key it reads."""
    for rule in rules:
        match = _regex(rule.target).fullmatch(path)
        if match:
            return rule.source.format(**match.groupdict()), rule
    return None


def _source_shape(rule: Rule, leaf: Any) -> tuple[int, ...]:
    struct = jax.ShapeDtypeStruct(leaf.shape, np.float32)  # any will do
    shape = jax.eval_shape(rule.transform.save, struct).shape
    return (shape[0] * rule.part[1], *shape[1:]) if rule.part[1] > 1 else shape


def as_array(key: str, weight: Any) -> np.ndarray:
    """Return a weight as an array of NumPy.

    Raises:
        InputError: If it cannot be one, naming it.
    """
    try:
        return np.asarray(weight)
    except (TypeError, RuntimeError) as error:  # torch: bfloat16, gradients, a GPU
        raise InputError(
            f"weight {key} cannot become a NumPy array ({error}); "
            f"pass weight.detach().float().cpu()"
        ) from error


def _refuse(faults: Mapping[str, Sequence[str]], summary: str) -> None:
    """Raise if there is any fault, naming the first few of each kind."""
    texts = []
    for kind, names in faults.items():
        more = f" and {len(names) - _MAX_NAMES} more" * (len(names) > _MAX_NAMES)
        if names:
            texts.append(f"{kind}: {', '.join(names[:_MAX_NAMES])}{more}")
    if texts:
        raise InputError(f"{summary}; {'; '.join(texts)}")
