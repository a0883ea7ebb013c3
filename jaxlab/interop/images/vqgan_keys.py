"""Keys of VQGAN's weights in two libraries, and the sizes that shapes tell.

taming-transformers (CompVis) and diffusers hold the same arrays. diffusers has linear
layers in attention instead of convolutions of one pixel, and counts the levels of the
decoder from the smallest on.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxlab.core.errors import InputError
from jaxlab.interop.key_table import (
    CONV,
    LINEAR,
    LINEAR_JOIN,
    Rule,
    Transform,
    linear,
    norm,
)
from jaxlab.models.codes.vqgan import VQGANSizes

__all__ = ["CODEBOOK", "DIFFUSERS", "TAMING", "Layout", "read_sizes", "rules"]

CODEBOOK = "quantize.embedding.weight"


@dataclasses.dataclass(frozen=True)
class Layout:
    """Names of one library; `{}` stands for a number.

    Attributes:
        library: Name of the library.
        down: A level of the encoder.
        up: A level of the decoder.
        is_upside_down: Whether levels of the decoder are counted from the smallest.
        block: A block of a level.
        attention: Attention of a level.
        to_half: The convolution that halves, of a level.
        to_double: The one that doubles.
        middle: The block, attention and block between levels.
        shortcut: The convolution of a block to other channels.
        projections: The norm, queries, keys, values and output of attention.
        has_pixels: Whether the projections are convolutions of one pixel.
        norm_out: The last norm of both networks.
    """

    library: str
    down: str
    up: str
    is_upside_down: bool
    block: str
    attention: str
    to_half: str
    to_double: str
    middle: tuple[str, str, str]
    shortcut: str
    projections: tuple[str, str, str, str, str]
    has_pixels: bool
    norm_out: str


TAMING = Layout(
    library="taming-transformers",
    down="down.{}",
    up="up.{}",
    is_upside_down=False,
    block="block.{}",
    attention="attn.{}",
    to_half="downsample.conv",
    to_double="upsample.conv",
    middle=("mid.block_1", "mid.attn_1", "mid.block_2"),
    shortcut="nin_shortcut",
    projections=("norm", "q", "k", "v", "proj_out"),
    has_pixels=True,
    norm_out="norm_out",
)
DIFFUSERS = Layout(
    library="diffusers",
    down="down_blocks.{}",
    up="up_blocks.{}",
    is_upside_down=True,
    block="resnets.{}",
    attention="attentions.{}",
    to_half="downsamplers.0.conv",
    to_double="upsamplers.0.conv",
    middle=("mid_block.resnets.0", "mid_block.attentions.0", "mid_block.resnets.1"),
    shortcut="conv_shortcut",
    projections=("group_norm", "to_q", "to_k", "to_v", "to_out.0"),
    has_pixels=False,
    norm_out="conv_norm_out",
)


def rules(layout: Layout, num_levels: int) -> list[Rule]:
    """Give the table of a network with so many levels."""
    first, attention, second = layout.middle
    found = [
        Rule(CODEBOOK, "quantizer/codebook"),
        *linear("quant_conv", "quant_conv", CONV),
        *linear("post_quant_conv", "post_quant_conv", CONV),
        *linear("encoder.conv_out", "encoder/conv_out", CONV),
        *linear("decoder.conv_out", "last_layer", CONV),
    ]
    for side, level_name in (("encoder", layout.down), ("decoder", layout.up)):
        found += [
            *linear(f"{side}.conv_in", f"{side}/conv_in", CONV),
            *norm(f"{side}.{layout.norm_out}", f"{side}/norm_out"),
            *_block(layout, f"{side}.{first}", f"{side}/middle/block_0"),
            *_attention(layout, f"{side}.{attention}", f"{side}/middle/attention_0"),
            *_block(layout, f"{side}.{second}", f"{side}/middle/block_1"),
        ]
        resize = layout.to_half if side == "encoder" else layout.to_double
        for level in range(num_levels):
            is_turned = side == "decoder" and layout.is_upside_down
            number = num_levels - 1 - level if is_turned else level
            theirs = f"{side}.{level_name.format(number)}"
            ours = f"{side}/level_{level}"
            block = layout.block.format("{j}")
            attention_j = layout.attention.format("{j}")
            found += [
                *_block(layout, f"{theirs}.{block}", f"{ours}/block_{{j}}"),
                *_attention(
                    layout, f"{theirs}.{attention_j}", f"{ours}/attention_{{j}}"
                ),
                *linear(f"{theirs}.{resize}", f"{ours}/resize", CONV),
            ]
    return found


def _block(layout: Layout, theirs: str, ours: str) -> Iterator[Rule]:
    for index in range(2):
        yield from norm(f"{theirs}.norm{index + 1}", f"{ours}/norm_{index}")
        yield from linear(f"{theirs}.conv{index + 1}", f"{ours}/conv_{index}", CONV)
    yield from linear(f"{theirs}.{layout.shortcut}", f"{ours}/shortcut", CONV)


def _attention(layout: Layout, theirs: str, ours: str) -> Iterator[Rule]:
    norm_name, query, key, value, out = layout.projections
    yield from norm(f"{theirs}.{norm_name}", f"{ours}/norm")
    for source, name in ((query, "query"), (key, "key"), (value, "value")):
        transform = _of_pixels(LINEAR) if layout.has_pixels else LINEAR
        target = f"{ours}/attention/{name}"
        yield from linear(f"{theirs}.{source}", target, transform)
    transform = _of_pixels(LINEAR_JOIN) if layout.has_pixels else LINEAR_JOIN
    yield from linear(f"{theirs}.{out}", f"{ours}/attention/out", transform)


def _of_pixels(transform: Transform) -> Transform:
    """Do with a convolution of one pixel what is done with a matrix."""
    return Transform(
        lambda a: transform.load(a[:, :, 0, 0]),
        lambda a: transform.save(a)[:, :, None, None],
    )


def read_sizes(
    weights: Mapping[str, Any], layout: Layout, num_groups: int
) -> tuple[VQGANSizes, int, int]:
    """Read sizes off the shapes of weights; what contradicts them is found later.

    Args:
        weights: Arrays by key.
        layout: Names of the library that the weights are of.
        num_groups: Groups of the normalisations, which no shape tells.

    Returns:
        The sizes, the number of codes, and the channels of images.

    Raises:
        InputError: If a weight that tells a size is not there, or sizes cannot be.
    """

    def numbers(name: str) -> set[str]:
        pattern = re.compile(re.escape(f"{name}.").replace(r"\{\}", r"(\d+)"))
        return {found[1] for key in weights if (found := pattern.match(key))}

    def size(key: str, axis: int = 0) -> int:
        shape = np.shape(weights[key]) if key in weights else ()
        if len(shape) <= axis:
            raise InputError(
                f"no {key} of {axis + 1} axes or more is among the weights, so they "
                f"are of no VQGAN of {layout.library}"
            )
        return int(shape[axis])

    down = f"encoder.{layout.down}"
    levels = [down.format(level) for level in range(len(numbers(down)) or 1)]
    block, attention = layout.block.format(0), layout.attention.format(0)
    sizes = VQGANSizes(
        widths=tuple(size(f"{level}.{block}.conv1.weight") for level in levels),
        num_blocks=len(numbers(f"{levels[0]}.{layout.block}")),
        attention=tuple(
            number
            for number, level in enumerate(levels)
            if f"{level}.{attention}.{layout.projections[0]}.weight" in weights
        ),
        latent_dim=size("quant_conv.weight", 1),
        code_dim=size("quant_conv.weight"),
        num_groups=num_groups,
    )
    return sizes, size(CODEBOOK), size("decoder.conv_out.weight")
