"""Tasks made on the fly: one right answer a text, and parts that share nothing."""

import calendar
import datetime
import re

import pytest

from jaxlab.core.errors import InputError
from jaxlab.data.text.tasks import TASKS, date_pairs, date_texts

DAY = datetime.timedelta(1)
FIRST, LAST = datetime.date(1950, 1, 1), datetime.date(2049, 12, 31)
# The first letters of month names in the five languages.
STEMS = {
    1: "jan gen ene",
    2: "feb fév",
    3: "mar mär",
    4: "apr avr abr",
    5: "may mai mag",
    6: "jun juin giu",
    7: "jul juil lug",
    8: "aug aoû ago",
    9: "sep set",
    10: "oct okt ott",
    11: "nov",
    12: "dec dez déc dic",
}
MONTHS = {stem: month for month, stems in STEMS.items() for stem in stems.split()}
# By weekday from Monday: English, German, French, Spanish, Italian.
WEEKDAYS = [
    {"monday", "mon", "montag", "mo", "lundi", "lunes", "lunedì"},
    {"tuesday", "tue", "dienstag", "di", "mardi", "martes", "martedì"},
    {"wednesday", "wed", "mittwoch", "mi", "mercredi", "miércoles", "mercoledì"},
    {"thursday", "thu", "donnerstag", "do", "jeudi", "jueves", "giovedì"},
    {"friday", "fri", "freitag", "fr", "vendredi", "viernes", "venerdì"},
    {"saturday", "sat", "samstag", "sa", "samedi", "sábado", "sabato"},
    {"sunday", "sun", "sonntag", "so", "dimanche", "domingo", "domenica"},
]
DAYS = {name: number for number, names in enumerate(WEEKDAYS) for name in names}


@pytest.fixture(scope="module")
def dates():
    return date_pairs(0)


def read(text):
    """Read a date by the rules that are told to users, not by the formats."""
    text = text.lower()
    if re.fullmatch(r"\d{8}", text):
        return datetime.datetime.strptime(text, "%Y%m%d").date()
    words = re.findall(r"[^\W\d_]+", text)
    numbers = re.findall(r"\d+", text)
    names = [word for word in words if word not in DAYS and word[:4] in MONTHS]
    names += [word for word in words if word not in DAYS and word[:3] in MONTHS]
    year = next((n for n in numbers if len(n) == 4), None) or next(
        n for n in numbers if int(n) > 31 or text.endswith(f"'{n}")
    )
    position = len(numbers) - 1 - numbers[::-1].index(year)
    rest = [int(n) for n in numbers[:position] + numbers[position + 1 :]]
    year = int(year)
    if year < 100:
        year += 1900 if year >= 50 else 2000
    if names:
        (day,) = rest
        stem = next(names[0][:n] for n in (4, 3) if names[0][:n] in MONTHS)
        date = datetime.date(year, MONTHS[stem], day)
    elif "." in text:
        date = datetime.date(year, rest[1], rest[0])
    elif position == 0:
        date = datetime.date(year, *rest)
    else:
        assert rest[0] == rest[1] or max(rest) > 12, text
        date = datetime.date(year, min(rest), max(rest))
    for word in words:
        if word in DAYS:
            assert DAYS[word] == date.weekday(), text
    return date


@pytest.mark.parametrize("year", [1950, 1988, 2003, 2012, 2031, 2032, 2049])
def test_every_text_of_a_date_is_read_as_that_date(year):
    date = datetime.date(year, 1, 1)
    while date.year == year:
        for text in date_texts(date):
            assert read(text) == date, text
        date += DAY


def test_no_text_is_that_of_two_dates():
    seen = {}
    for year in (1950, 1951, 1988, 1999, *range(2000, 2004), *range(2028, 2034), 2049):
        date = datetime.date(year, 1, 1)
        while date.year == year:
            for text in date_texts(date):
                # Case is drawn, so it must not be what tells two dates apart.
                assert seen.setdefault(text.lower(), date) == date, text
            date += DAY


def test_the_formats_of_a_date():
    texts = date_texts(datetime.date(1988, 5, 3))
    assert len(texts) == len(set(texts)) > 30
    for text in (
        "1988-05-03",
        "3.5.88",
        "May 3rd, 1988",
        "03 May 88",
        "Tuesday, May 3, 1988",
        "Tue, 03 May 1988",
        "the 3rd of May, 1988",
        "Dienstag, den 3. Mai 1988",
        "mardi 3 mai 1988",
        "martes, 3 de mayo de 1988",
        "martedì 3 maggio 1988",
    ):
        assert text in texts
    # The third of May or the fifth of March?
    assert not any(re.fullmatch(r"\d\d?[/-]\d\d?[/-]\d+", text) for text in texts)
    assert "5/23/1988" in date_texts(datetime.date(1988, 5, 23))
    assert "23/5/1988" in date_texts(datetime.date(1988, 5, 23))
    assert "5/5/1988" in date_texts(datetime.date(1988, 5, 5))


def test_a_year_that_could_be_a_day_is_written_out():
    assert "03 May 31" not in date_texts(datetime.date(2031, 5, 3))
    assert "May 3 '31" in date_texts(datetime.date(2031, 5, 3))
    assert "03 May 32" in date_texts(datetime.date(2032, 5, 3))


@pytest.mark.parametrize(
    ("day", "english", "french"),
    [
        (1, "1st", "1er"),
        (2, "2nd", "2"),
        (3, "3rd", "3"),
        (4, "4th", "4"),
        (11, "11th", "11"),
        (12, "12th", "12"),
        (13, "13th", "13"),
        (21, "21st", "21"),
        (22, "22nd", "22"),
        (23, "23rd", "23"),
        (31, "31st", "31"),
    ],
)
def test_ordinals(day, english, french):
    texts = date_texts(datetime.date(1999, 7, day))
    assert f"July {english}, 1999" in texts
    assert f"{french} juillet 1999" in texts


def test_english_and_plain_dates_are_read_alike_by_dateutil():
    parser = pytest.importorskip("dateutil.parser")
    months = [*calendar.month_name, *calendar.month_abbr]
    known = {*months, *calendar.day_name, *calendar.day_abbr, "of", "the"}
    known |= {"st", "nd", "rd", "th"}
    count = 0
    date = datetime.date(1977, 1, 1)
    while date.year == 1977:
        for text in date_texts(date):
            if not known.issuperset(re.findall(r"[^\W\d_]+", text)):
                continue
            day_first = "." in text or text.startswith(f"{date.day}/")
            found = parser.parse(text, dayfirst=day_first, fuzzy=True)
            assert found.date() == date, text
            count += 1
        date += 5 * DAY
    assert count > 73 * 25


def test_dates_are_those_that_their_texts_say(dates):
    train, valid, test = dates
    assert (len(valid), len(test)) == (2000, 2000)
    assert len(train) > 60_000
    for text, target in [*train[:5000], *valid, *test]:
        assert read(text).isoformat() == target, text


def test_no_date_is_in_two_parts(dates):
    parts = [{target for _, target in part} for part in dates]
    assert [len(part) for part in parts] == [32_525, 2000, 2000]
    assert len(set.union(*parts)) == (LAST - FIRST).days + 1 == 36_525


def test_dates_come_in_every_format_case_and_language(dates):
    texts = [text for text, _ in dates[0]]
    shapes = {re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "1", text)) for text in texts}
    assert len(shapes) > 25
    for word in ("June", "june", "JUNE", "Juni", "juin", "junio", "giugno", "MÄRZ"):
        assert any(re.search(rf"\b{word}\b", text) for text in texts), word
    assert max(map(len, texts)) <= 36


def test_the_hyphenated_date_is_seldom_the_answer_itself(dates):
    train = dates[0]
    assert sum(text == target for text, target in train) < len(train) / 20


@pytest.mark.parametrize("name", TASKS)
def test_a_task_is_a_function_of_its_seed(name, dates):
    first = dates if name == "dates" else TASKS[name](0)
    assert TASKS[name](0) == first
    assert TASKS[name](1) != first


CHANGES = {"copy": list, "reverse": lambda x: list(reversed(x)), "sort": sorted}


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("seed", [0, 7])
def test_letters_are_changed_as_named_and_parts_are_disjoint(name, seed):
    parts = TASKS[name](seed)
    assert [len(part) for part in parts] == [50_000, 2000, 2000]
    pairs = [pair for part in parts for pair in part]
    assert all(list(target) == CHANGES[name](text) for text, target in pairs)
    texts = {text for text, _ in pairs}
    assert len(texts) == 54_000
    assert set("".join(texts)) == set("abcdefghijklmnopqrstuvwxyz")
    lengths = [len(text) for text, _ in pairs]
    for length in range(3, 17):
        # Of the shortest a few are drawn twice; none of 14 lengths is rare.
        assert 54_000 / 14 * 0.85 < lengths.count(length) < 54_000 / 14 * 1.15
    assert set(lengths) == set(range(3, 17))


def test_letter_tasks_do_not_share_their_letters():
    sources = [[text for text, _ in TASKS[name](0)[2]] for name in CHANGES]
    assert sources[0] != sources[1] != sources[2] != sources[0]


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize("name", TASKS)
def test_a_seed_out_of_range_is_refused(name, seed):
    with pytest.raises(InputError, match=r"must lie in \[0, 2\*\*32\)"):
        TASKS[name](seed)
