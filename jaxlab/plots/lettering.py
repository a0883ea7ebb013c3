"""Names in pictures: of any script and length, and never read as mathematics."""

import functools
import itertools
import sys
import unicodedata

__all__ = ["font_families", "shortened", "shown"]

# Fonts of scripts that matplotlib's own lacks, on Linux, macOS and Windows.
_FALLBACKS = (
    *(f"Noto Sans CJK {place}" for place in ("JP", "SC", "TC", "HK", "KR")),
    *(f"Noto Sans {place}" for place in ("JP", "SC", "TC", "HK", "KR")),
    *("Source Han Sans", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "IPAGothic"),
    *("IPAexGothic", "TakaoGothic", "Droid Sans Fallback", "NanumGothic", "UnDotum"),
    *("Hiragino Sans", "PingFang SC", "PingFang HK", "Apple SD Gothic Neo"),
    *("Yu Gothic", "MS Gothic", "Microsoft YaHei", "SimHei", "Malgun Gothic"),
    *("Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Ethiopic", "Noto Sans"),
    *("Arial Unicode MS", "FreeSans", "Unifont"),
)


@functools.cache
def font_families() -> tuple[str, ...]:
    """Return the families to draw text with: the user's, then what fills its gaps."""
    from matplotlib import rcParams
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    return (*rcParams["font.family"], *(f for f in _FALLBACKS if f in installed))


@functools.cache
def _letters() -> frozenset[int]:
    """Return the code points that one of the families has."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[name])) for name in font_families()]
    return frozenset().union(*(get_font(file).get_charmap() for file in files))


def shortened(text: str, most: int = 40) -> str:
    r"""Return a text in one line, short, and in letters that can be drawn.

    Letters that no font has are written as Python writes them, `\u732b`; the first
    time, a line tells what to install.

    Args:
        text: Anything, such as the name of a class or of a file.
        most: Letters before it is cut, with an ellipsis in place of the rest; wide
            letters count as two.
    """
    pieces = [_piece(letter) for letter in " ".join(text.split())]
    widths = [sum(map(_width, piece)) for piece in pieces]
    if sum(widths) <= most:
        return "".join(pieces)
    room = itertools.accumulate(widths, initial=1)  # the ellipsis is one
    kept = sum(used <= most for used in room) - 1
    return "".join(pieces[: max(kept, 0)]) + "…"


def shown(text: str, most: int = 40) -> str:
    """Return what `shortened` does, so that matplotlib finds no mathematics in it."""
    return shortened(text, most).replace("$", r"\$")


def _piece(letter: str) -> str:
    if ord(letter) in _letters():
        return letter
    if letter.isprintable():
        _tell_of_fonts()
    return letter.encode("unicode_escape").decode()


def _width(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


@functools.cache
def _tell_of_fonts() -> None:
    """Tell what to install, once."""
    from matplotlib import get_cachedir

    sys.stderr.write(
        r"pictures have letters that no font here has, drawn as \u732b; install one, "
        "such as Noto Sans CJK (the package fonts-noto-cjk), and delete "
        f"{get_cachedir()}\n"
    )
