"""Quantisers by name.

Name    Described in  Codes
vq      `vq`          learn by gradient; with start="data", revive_below= from data
ema     `ema`         moving averages of latents
cosine  `ema`         moving averages of directions of few channels
simvq   `simvq`       fixed vectors through a linear layer
fsq     `fsq`         channels rounded to a few levels
lfq     `lfq`         signs of channels
"""

import dataclasses
from typing import Any, Literal, TypeAlias

from flax import linen as nn

from jaxlab.core.errors import InputError, check_choice, meant
from jaxlab.nn.quantizers.ema import CosineQuantizer, EMAQuantizer
from jaxlab.nn.quantizers.fsq import FSQ, FSQ_LEVELS
from jaxlab.nn.quantizers.lfq import LFQ
from jaxlab.nn.quantizers.simvq import SimVQ
from jaxlab.nn.quantizers.vq import VectorQuantizer

__all__ = ["QUANTIZERS", "QuantizerName", "make_quantizer"]

QuantizerName: TypeAlias = Literal["vq", "ema", "cosine", "simvq", "fsq", "lfq"]

QUANTIZERS: dict[str, type[nn.Module]] = {
    "vq": VectorQuantizer,
    "ema": EMAQuantizer,
    "cosine": CosineQuantizer,
    "simvq": SimVQ,
    "fsq": FSQ,
    "lfq": LFQ,
}


def make_quantizer(name: str, *, num_codes: int, dim: int, **options: Any) -> nn.Module:
    """Make the quantiser of that name.

    Args:
        name: One of the table above.
        num_codes: Codes. Of fsq about so many, by the levels of `FSQ_LEVELS`, or not
            looked at if `levels` are given: its `num_codes` says how many there are.
        dim: Channels of the latents.
        options: Other fields of its class, such as `beta`.

    Raises:
        InputError: If there is no such quantiser, it has no such field, or fsq has no
            levels for so many codes.
    """
    check_choice("quantizer", name, QuantizerName)
    maker = QUANTIZERS[name]
    fields = [field.name for field in dataclasses.fields(maker)]
    for option in options:
        if option not in fields:
            known = [field for field in fields if field not in ("parent", "name")]
            raise InputError(
                f"quantizer {name!r} has no {option!r}{meant(option, known)}; it has "
                f"{', '.join(known)}"
            )
    if name != "fsq":
        return maker(num_codes=num_codes, dim=dim, **options)
    if "levels" not in options and num_codes not in FSQ_LEVELS:
        raise InputError(
            f"num_codes {num_codes}: fsq has levels for "
            f"{', '.join(map(str, FSQ_LEVELS))}; for others give levels="
        )
    return FSQ(**{"levels": FSQ_LEVELS.get(num_codes), "dim": dim, **options})
