"""Names are short, legible and no mathematics, whatever they are."""

import pytest

from jaxlab.plots import lettering
from jaxlab.plots.figure import new_figure, picture
from jaxlab.plots.lettering import font_families, shortened, shown


@pytest.fixture
def few_fonts(monkeypatch):
    """Leave but the font that matplotlib brings, whose letters are known."""
    monkeypatch.setattr(lettering, "_FALLBACKS", ())
    cached = (lettering.font_families, lettering._letters, lettering._tell_of_fonts)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("cat", 3, "cat"),
        ("cats", 3, "ca…"),
        ("a  b\n c\t", 40, "a b c"),
        ("", 3, ""),
        ("zażółć gęślą", 12, "zażółć gęślą"),
        ("x" * 1000, 5, "xxxx…"),
    ],
)
def test_long_names_are_cut_with_an_ellipsis(text, most, short):
    assert shortened(text, most) == short
    assert shortened(short, most) == short


def test_letters_without_a_font_are_written_as_python_does(few_fonts, capsys):
    assert shown("猫 cat") == r"\u732b cat"
    assert shown("猫犬鳥", 13) == r"\u732b\u72ac…"
    assert shown("bell\x07, \udcff") == r"bell\x07, \udcff"
    shown("鳥")
    told = capsys.readouterr().err
    assert told.count("\n") == 1  # once, however many
    assert "fonts-noto-cjk" in told


def test_wide_letters_count_as_two(monkeypatch):
    monkeypatch.setattr(lettering, "_letters", lambda: range(0x110000))
    assert shortened("猫犬鳥", 6) == "猫犬鳥"
    assert shortened("猫犬鳥", 5) == "猫犬…"
    assert shortened("猫犬鳥", 4) == "猫…"


def test_an_installed_font_of_other_scripts_is_used(few_fonts, monkeypatch):
    monkeypatch.setattr(lettering, "_FALLBACKS", ("No Such Font", "DejaVu Serif"))
    assert font_families()[-1] == "DejaVu Serif"
    assert "No Such Font" not in font_families()

    @picture
    def families():
        """Tell what text is drawn with."""
        return new_figure(1.0, 1.0).text(0, 0, "a").get_fontfamily()

    assert families() == [*font_families()]


@pytest.mark.parametrize(
    "name", ["$", "$$", "a$b$c", r"\$x$", r"$\frac$", "$x^$ {", "%"]
)
def test_dollars_are_no_mathematics(name):
    figure = new_figure(1.0, 1.0)
    text = figure.text(0, 0, shown(name))
    figure.canvas.draw()  # raises where mathematics is wrong
    cleaned, is_math = text._preprocess_math(text.get_text())
    assert (cleaned, is_math) == (name, False)
