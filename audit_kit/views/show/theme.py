"""One calm theme for every chart, and the way charts reach the screen.

Colours come from the Okabe-Ito family, toned down: neighbours differ in lightness too, so that they stay apart for
colour-blind readers and on a grey print. No meaning is carried by colour alone: every chart has labels or tooltips.
"""

from __future__ import annotations

import json
import os
from typing import Any, cast

import altair as alt
import polars as pl
from altair.utils.display import HTMLRenderer
from altair.vegalite.v6.display import html_renderer

from audit_kit.views.show import vega
from audit_kit.views.show.element_ids import BATCH, element_id

INK = "#1f2937"
MUTED = "#6b7280"
GRID = "#e8ebef"
PAPER = "#ffffff"

BLUE = "#2c6a9e"
SKY = "#8ebadb"
TEAL = "#2f8f83"
AMBER = "#e2a12f"
RED = "#c4512d"
PLUM = "#9b5d8f"
GREY = "#b3b9c2"
SLATE = "#46536a"
SAND = "#e8dfc0"

FONT = '"Noto Sans CJK SC", "Noto Sans SC", "Microsoft YaHei", "PingFang SC", "Segoe UI", sans-serif'
WIDTH = 840

OUTCOMES = {
    "matched": BLUE,
    "matched_cleaned": SKY,
    "mistyped": TEAL,
    "conflict": AMBER,
    "duplicate": PLUM,
    "ambiguous": GREY,
    "missing": RED,
    "unbooked": SLATE,
    "cross_month": SAND,
}
SEVERITIES = {"critical": "#8f2d14", "high": RED, "medium": AMBER, "low": SKY, "info": GREY}
SLOTS = {"ok": SKY, "late": AMBER, "missing": RED, "unknown": GREY}
COVERAGE = {"covered": BLUE, "unverified": AMBER, "uncovered": RED}
SERIES = {"listed": SKY, "restorable": BLUE, "verified": SLATE}
CHANGES = {"new": RED, "reopened": PLUM, "open": AMBER, "closed": TEAL}
RULES = {"pass": TEAL, "fails": RED, "unknown": GREY}
CHANNELS = (BLUE, AMBER, TEAL, PLUM, SLATE, RED, SKY)
HEAT = ("#f6f1ea", "#f0cfae", "#e0935f", "#c4512d", "#7d2410")
COOL = ("#f3f6f9", "#c5dbeb", "#8ebadb", "#4f8fbf", "#1e4e79")

_IN_A_LAB = "JPY_SESSION_NAME"
_RENDERER = "audit_kit"
_IN_LAB = "audit_kit_lab"
_CONTROLS = (
    "<style>.vega-bindings{margin:2px 0 0 8px}.vega-bind{font-size:12px;color:#46536a}"
    ".vega-bind-name{font-weight:600}.vega-bind label{margin-right:8px}</style>"
)
_PLACE = {"audit_kit": "the spec goes here"}


def setup(lang: str = "zh", *, batch: bool | None = None) -> None:
    """Register the theme and choose how charts are shown.

    In a report charts are HTML that finds Vega in the page; in JupyterLab the cell that calls this puts Vega into the
    notebook, and each chart is kept as a picture too. Neither needs a network. Without `batch`, the environment says
    which it is: a kernel that Jupyter opened for a person is a lab, unless AUDIT_KIT_BATCH is set.
    """
    if batch is None:
        batch = bool(os.environ.get(BATCH)) or _IN_A_LAB not in os.environ
    alt.theme.register("audit_kit", enable=True)(_theme)
    alt.data_transformers.register(_RENDERER, _with_days)
    alt.data_transformers.enable(_RENDERER)
    alt.renderers.register(_RENDERER, _safe_html)
    alt.renderers.register(_IN_LAB, _live_html)
    options = embed_options(lang)
    if batch:
        alt.renderers.enable(_RENDERER, embed_options=options)
    else:
        alt.renderers.enable(_IN_LAB, embed_options=options)
        vega.publish()


def embed_options(lang: str) -> dict[str, Any]:
    """Return the options under which a chart widget is shown."""
    return {"actions": False, "formatLocale": _number_locale(lang), "timeFormatLocale": _time_locale(lang)}


def as_html(chart: Any, lang: str) -> str:  # noqa: ANN401 -- any chart of Altair
    """Return a chart for a page that is no notebook and holds `vega.scripts`."""
    setup(lang, batch=True)
    return str(_safe_html(chart.to_dict(validate=False), embed_options=embed_options(lang))["text/html"])


def scale(colours: dict[str, str], labels: dict[str, str]) -> alt.Scale:
    """Return a colour scale whose domain is the labels, in the order of `labels`."""
    return alt.Scale(domain=list(labels.values()), range=[colours[word] for word in labels])


def _safe_html(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:  # noqa: ANN401 -- the renderer protocol
    """Render a chart as HTML in which no text of the engagement can end the script it stands in."""
    renderer = HTMLRenderer(element_id("altair-viz"), **html_renderer.kwargs)
    bundle: dict[str, Any] = renderer(dict(_PLACE), **metadata)
    page = bundle["text/html"].replace("display: flex;", "display: block;")
    return {**bundle, "text/html": _CONTROLS + page.replace(json.dumps(_PLACE), vega.as_script(spec))}


def _with_days(data: Any) -> Any:  # noqa: ANN401 -- the transformer protocol
    """Say which columns are times, so that they are that in every panel, also in one that only filters by them."""
    made = alt.default_data_transformer(data)
    if isinstance(data, pl.DataFrame) and (times := data.select(pl.selectors.temporal()).columns):
        made["format"] = {"parse": dict.fromkeys(times, "date")}
    return made


def _live_html(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:  # noqa: ANN401 -- the renderer protocol
    bundle = vega.live(spec, **metadata)
    return {**bundle, "text/html": _CONTROLS + bundle["text/html"]}


def _number_locale(_lang: str) -> dict[str, Any]:
    return {"decimal": ".", "thousands": ",", "grouping": [3], "currency": ["¥", ""]}


def _time_locale(lang: str) -> dict[str, Any]:
    if lang == "zh":
        return {
            "dateTime": "%x %X",
            "date": "%Y年%-m月%-d日",
            "time": "%H:%M:%S",
            "periods": ["上午", "下午"],
            "days": [f"星期{day}" for day in "日一二三四五六"],
            "shortDays": [f"周{day}" for day in "日一二三四五六"],
            "months": [f"{month}月" for month in range(1, 13)],
            "shortMonths": [f"{month}月" for month in range(1, 13)],
        }
    days = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
    months = ["January", "February", "March", "April", "May", "June", "July"]
    months += ["August", "September", "October", "November", "December"]
    return {
        "dateTime": "%x %X",
        "date": "%d %b %Y",
        "time": "%H:%M:%S",
        "periods": ["AM", "PM"],
        "days": days,
        "shortDays": [day[:3] for day in days],
        "months": months,
        "shortMonths": [month[:3] for month in months],
    }


def _theme() -> alt.theme.ThemeConfig:
    text = {"labelFont": FONT, "titleFont": FONT, "labelColor": INK, "titleColor": MUTED}
    axis = {
        **text,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": GRID,
        "domainColor": GREY,
        "tickColor": GREY,
        "labelOverlap": "greedy",
        "labelSeparation": 8,
    }
    title = {
        "font": FONT,
        "subtitleFont": FONT,
        "fontSize": 14,
        "fontWeight": 600,
        "color": INK,
        "subtitleFontSize": 12,
        "subtitleColor": MUTED,
        "anchor": "start",
        "offset": 10,
        "subtitlePadding": 4,
    }
    config = {
        "font": FONT,
        "background": PAPER,
        "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": 240},
        "title": title,
        "axis": axis,
        "axisY": {"domain": False, "ticks": False, "labelPadding": 6},
        "legend": {
            **text,
            "orient": "top",
            "direction": "horizontal",
            "titleOrient": "left",
            "titleAnchor": "middle",
            "labelFontSize": 11,
            "titleFontSize": 11,
            "titleFontWeight": "normal",
            "symbolSize": 90,
            "gradientLength": 140,
            "gradientThickness": 10,
            "labelLimit": 200,
            "columns": 5,
            "padding": 2,
            "offset": 6,
        },
        "header": {**text, "labelFontSize": 12, "titleFontSize": 11},
        "bar": {"color": BLUE},
        "line": {"color": BLUE, "strokeWidth": 2},
        "area": {"color": SKY},
        "point": {"color": BLUE, "filled": True, "size": 50},
        "rule": {"color": MUTED},
        "text": {"font": FONT, "color": INK, "fontSize": 11},
        "range": {"category": list(CHANNELS), "heatmap": list(HEAT), "ramp": list(COOL)},
    }
    return alt.theme.ThemeConfig(config=cast("Any", config))
