from __future__ import annotations

import itertools

import altair as alt
import polars as pl
import pytest

from audit_kit.core import schema
from audit_kit.views.overview.charts import PLACED
from audit_kit.views.show import theme, vega

HOSTILE = "</script><script>alert(1)</script>{{7*7}}"

# What red-blind and green-blind eyes make of linear RGB (Viénot, Brettel and Mollon 1999).
BLIND = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    "nobody": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


def _lab(colour: str, eyes: str) -> tuple[float, float, float]:
    rgb = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in rgb]
    seen = [max(0.0, sum(weight * part for weight, part in zip(row, linear, strict=True))) for row in BLIND[eyes]]
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(weight * part for weight, part in zip(row, seen, strict=True)) for row in to_xyz]
    white = (0.9505, 1.0, 1.089)
    x, y, z = (
        (part / most) ** (1 / 3) if part / most > 0.008856 else 7.787 * part / most + 16 / 116
        for part, most in zip(xyz, white, strict=True)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("eyes", BLIND)
@pytest.mark.parametrize("family", ["SLOTS", "COVERAGE", "CHANGES", "RULES", "OUTCOMES"])
def test_colours_of_one_chart_stay_apart_for_colour_blind_eyes(family, eyes):
    colours = set(getattr(theme, family).values())
    for one, other in itertools.combinations(sorted(colours), 2):
        apart = sum((a - b) ** 2 for a, b in zip(_lab(one, eyes), _lab(other, eyes), strict=True)) ** 0.5
        assert apart > 9, (one, other)


def _html(chart: alt.Chart) -> str:
    made = chart._repr_mimebundle_()
    return (made[0] if isinstance(made, tuple) else made)["text/html"]


def test_no_text_of_the_engagement_can_leave_its_script():
    theme.setup("zh", batch=True)
    chart = alt.Chart(pl.DataFrame({"name": [HOSTILE], "n": [1]})).mark_bar().encode(x="name:N", y="n:Q")
    page = _html(chart)
    assert page.count("</script>") == 1
    assert "\\u003c/script>" in page
    assert "the spec goes here" not in page


def test_a_lab_gets_pictures_too_and_a_report_gets_html(monkeypatch):
    published = []
    monkeypatch.setattr(vega, "publish", lambda: published.append(1))
    monkeypatch.delenv(theme.BATCH, raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", "book.ipynb")
    theme.setup("zh")
    assert alt.renderers.active == "audit_kit_lab"
    assert published == [1]
    monkeypatch.setenv(theme.BATCH, "1")
    theme.setup("zh")
    assert alt.renderers.active == "audit_kit"


@pytest.mark.parametrize(("lang", "month"), [("zh", "5月"), ("en", "May")])
def test_months_are_named_in_the_language_of_the_page(lang, month):
    locale = theme.embed_options(lang)["timeFormatLocale"]
    assert locale["shortMonths"][4] == month
    assert len(locale["days"]) == 7


def test_the_first_font_is_one_with_simplified_chinese():
    theme.setup("zh", batch=True)
    config = alt.Chart(pl.DataFrame({"n": [1]})).mark_bar().encode(x="n:Q").to_dict()["config"]
    assert config["font"].startswith('"Noto Sans CJK SC"')
    assert config["axis"]["labelFont"] == config["font"]


def test_every_word_of_a_vocabulary_has_its_colour():
    assert tuple(theme.OUTCOMES) == PLACED
    assert tuple(theme.SEVERITIES) == schema.SEVERITIES
