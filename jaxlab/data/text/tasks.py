"""Pairs of texts made on the fly: dates to ISO dates; copy, reverse, sort.

Pure functions of the seed, so that they need no file and no download.
"""

import datetime
import functools
from collections.abc import Callable

import numpy as np

from jaxlab.core.errors import InputError

__all__ = ["TASKS", "Splits", "date_pairs", "date_texts", "letter_pairs"]

Splits = tuple[list[tuple[str, str]], list[tuple[str, str]], list[tuple[str, str]]]

_FIRST_DAY = datetime.date(1950, 1, 1)
_LAST_DAY = datetime.date(2049, 12, 31)
_TEXTS_A_DAY = 2  # to train on
_HELD_OUT = 2000  # pairs to validate with, and to test with
_TRAIN = 50_000  # pairs of letters
_SHORTEST, _LONGEST = 3, 16  # letters

_MONTHS = {
    "en": "January February March April May June July August September October "
    "November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November "
    "Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre "
    "décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre "
    "noviembre diciembre",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre "
    "novembre dicembre",
}
_SHORT_MONTHS = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "de": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
}
_WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
    "fr": "lundi mardi mercredi jeudi vendredi samedi dimanche",
    "es": "lunes martes miércoles jueves viernes sábado domingo",
    "it": "lunedì martedì mercoledì giovedì venerdì sabato domenica",
}
_SHORT_WEEKDAYS = {
    "en": "Mon Tue Wed Thu Fri Sat Sun",
    "de": "Mo. Di. Mi. Do. Fr. Sa. So.",
}

# d, m, y: day, month, year as numbers; dd, mm: two digits; yy: the last two of the
# year; nth: the day with its ending; month, weekday: names; mon, wday: short ones.
_NAMED = {
    "en": (
        "{month} {d}, {y}",
        "{month} {nth}, {y}",
        "{mon} {d}, {y}",
        "{d} {month} {y}",
        "{d} {mon} {y}",
        "{nth} {month} {y}",
        "{nth} of {month} {y}",
        "the {nth} of {month}, {y}",
        "{weekday}, {month} {d}, {y}",
        "{weekday}, {month} {nth}, {y}",
        "{weekday} {d} {month} {y}",
        "{wday}, {dd} {mon} {y}",
        "{wday} {mon} {d} {y}",
        "{dd}-{mon}-{y}",
        "{y} {mon} {dd}",
        "{month} {d} '{yy}",
        "{dd} {mon} {yy}",
        "{d}-{mon}-{yy}",
    ),
    "de": (
        "{nth} {month} {y}",
        "{nth} {mon} {y}",
        "{weekday}, {nth} {month} {y}",
        "{weekday}, den {nth} {month} {y}",
        "{wday}, {nth} {mon} {y}",
        "{nth} {month} {yy}",
    ),
    "fr": ("{nth} {month} {y}", "le {nth} {month} {y}", "{weekday} {nth} {month} {y}"),
    "es": ("{d} de {month} de {y}", "{weekday}, {d} de {month} de {y}"),
    "it": ("{nth} {month} {y}", "{weekday} {nth} {month} {y}"),
}
_NUMBERS = (
    "{y}-{mm}-{dd}",
    "{y}/{mm}/{dd}",
    "{y}/{m}/{d}",
    "{y}{mm}{dd}",
    "{d}.{m}.{y}",
    "{dd}.{mm}.{y}",
    "{d}. {m}. {y}",
    "{dd}.{mm}.{yy}",
    "{d}.{m}.{yy}",
)
# Some write the month first here, some the day.
_EITHER_ORDER = (
    "{m}/{d}/{y}",
    "{mm}/{dd}/{y}",
    "{m}/{d}/{yy}",
    "{d}/{m}/{y}",
    "{dd}/{mm}/{y}",
    "{d}/{m}/{yy}",
    "{dd}-{mm}-{y}",
    "{mm}-{dd}-{y}",
)


def date_texts(date: datetime.date) -> list[str]:
    """Write a date in every format of the date task that leaves no doubt.

    Month names are English, German, French, Spanish and Italian, with and without the
    weekday (which is right) and ordinals. Of numbers alone:

    - year first: year, month, day, separated by `-`, `/` or nothing;
    - separated by dots: day, month, year;
    - separated by `/`, or by `-` with the year last: the month first or the day first,
      so only dates whose day is over 12 or equal to the month.

    Years of two digits mean 1950 to 2049; without an apostrophe they are written only
    where they are over 31 and so can be no day.

    Args:
        date: From 1950-01-01 to 2049-12-31.

    Returns:
        The texts, all different, in the order of the formats.
    """
    return list(dict.fromkeys(_written(date, *one) for one in _formats_of(date)))


def _formats_of(date: datetime.date) -> tuple[tuple[str, str], ...]:
    return _formats(date.day > 12 or date.day == date.month, date.year % 100 > 31)


@functools.cache
def _formats(is_order_clear: bool, is_year_clear: bool) -> tuple[tuple[str, str], ...]:
    """Give language and format, those left out that would leave a doubt."""
    formats = [("", text) for text in _NUMBERS]
    if is_order_clear:
        formats += [("", text) for text in _EITHER_ORDER]
    for language, named in _NAMED.items():
        formats += [(language, text) for text in named]
    return tuple(
        (language, text)
        for language, text in formats
        if is_year_clear or "{yy}" not in text or "'{yy}" in text
    )


def _written(date: datetime.date, language: str, text: str) -> str:
    fields = {
        "d": str(date.day),
        "dd": f"{date.day:02}",
        "m": str(date.month),
        "mm": f"{date.month:02}",
        "y": str(date.year),
        "yy": f"{date.year % 100:02}",
        "nth": f"{date.day}{_ending(date.day, language)}",
    }
    for field, names, position in (
        ("month", _MONTHS, date.month - 1),
        ("mon", _SHORT_MONTHS, date.month - 1),
        ("weekday", _WEEKDAYS, date.weekday()),
        ("wday", _SHORT_WEEKDAYS, date.weekday()),
    ):
        if language in names:
            fields[field] = names[language].split()[position]
    return text.format(**fields)


def _ending(day: int, language: str) -> str:
    """Give the ending of an ordinal number: 3rd, 3., 1er."""
    if language == "en":
        return "th" if 10 < day < 14 else _ENGLISH.get(day % 10, "th")
    if language == "de":
        return "."
    return {"fr": "er", "it": "º"}.get(language, "") if day == 1 else ""


_ENGLISH = {1: "st", 2: "nd", 3: "rd"}


def _rng(seed: int, task: int) -> np.random.Generator:
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed} must lie in [0, 2**32)")
    return np.random.Generator(np.random.Philox(key=[seed, task]))


def date_pairs(seed: int = 0) -> Splits:
    """Make the date task: a date as people write it, to `YYYY-MM-DD`.

    All days of 1950 to 2049, shuffled: 2000 to test with, 2000 to validate with and the
    32525 others to train on, so that no date of one part is in another. A day has one
    text, a day to train on two; each in a format drawn from those of `date_texts`, as
    it is (half of them), in lower case (three tenths) or in upper case.

    Args:
        seed: Of the split, the formats and the case.

    Returns:
        Pairs to train on, to validate with and to test with.
    """
    rng = _rng(seed, 0)
    count = (_LAST_DAY - _FIRST_DAY).days + 1
    days = [_FIRST_DAY + datetime.timedelta(int(i)) for i in rng.permutation(count)]
    chance = rng.random((count, _TEXTS_A_DAY, 2)).tolist()

    def pairs(start: int, stop: int, number: int) -> list[tuple[str, str]]:
        found = []
        for day, draws in zip(days[start:stop], chance[start:stop], strict=True):
            formats = _formats_of(day)
            for pick, case in draws[:number]:
                text = _written(day, *formats[int(pick * len(formats))])
                found.append((_cased(text, case), day.isoformat()))
        return list(dict.fromkeys(found))

    test, valid = pairs(0, _HELD_OUT, 1), pairs(_HELD_OUT, 2 * _HELD_OUT, 1)
    train = pairs(2 * _HELD_OUT, count, _TEXTS_A_DAY)
    # Two texts of a day lie side by side; a reader of the first rows sees more so.
    return [train[i] for i in rng.permutation(len(train))], valid, test


def _cased(text: str, chance: float) -> str:
    if chance < 0.5:
        return text
    return text.lower() if chance < 0.8 else text.upper()


def letter_pairs(
    change: Callable[[str], str], seed: int = 0, *, task: int = 1
) -> Splits:
    """Make pairs of random letters `a` to `z` and what becomes of them.

    3 to 16 letters, each length as likely as another; no text comes twice, so no text
    of one part is in another.

    Args:
        change: Makes the target of a source.
        seed: Of the letters.
        task: Number of the task: tasks of different numbers draw different letters.

    Returns:
        50000 pairs to train on, 2000 to validate with, 2000 to test with.
    """
    rng = _rng(seed, task)
    count = _TRAIN + 2 * _HELD_OUT
    # Of the 26**3 shortest texts some are drawn twice, so a few more are drawn.
    drawn = count + count // 10
    lengths = rng.integers(_SHORTEST, _LONGEST + 1, drawn).tolist()
    letters = (rng.integers(0, 26, (drawn, _LONGEST)) + ord("a")).astype(np.uint8)
    rows = zip(letters, lengths, strict=True)
    texts = dict.fromkeys(bytes(row[:length]).decode() for row, length in rows)
    pairs = [(text, change(text)) for text in texts][:count]
    held = _HELD_OUT
    return pairs[2 * held :], pairs[held : 2 * held], pairs[:held]


def _copied(text: str) -> str:
    return text


def _reversed(text: str) -> str:
    return text[::-1]


def _sorted(text: str) -> str:
    return "".join(sorted(text))


# By name, pairs from a seed.
TASKS: dict[str, Callable[[int], Splits]] = {
    "dates": date_pairs,
    "copy": lambda seed: letter_pairs(_copied, seed, task=1),
    "reverse": lambda seed: letter_pairs(_reversed, seed, task=2),
    "sort": lambda seed: letter_pairs(_sorted, seed, task=3),
}
