"""Vega as one script that a page or a notebook carries, and charts as HTML that finds it there; no network.

Altair looks for `VEGA_DEBUG` before it would ask the network. A saved notebook keeps each chart as a picture too: it is
what stays where no script runs, because nobody has vouched for the notebook or its first cell was not drawn.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cache
from importlib.metadata import version
from typing import Any

from IPython.display import publish_display_data

from audit_kit.core import outputs
from audit_kit.core.cache_folder import cache_folder, make_folder
from audit_kit.core.errors import AuditError

_DOOR = "window.vegaEmbed = vegaEmbed; window.vega = vega; window.vegaLite = vegaLite;"
_PICTURE_SCALE = 1.5
_LIVE = """<div id="%(id)s"><img alt="%(id)s" style="max-width:100%%" src="data:image/png;base64,%(picture)s"></div>
<script>(async (spec, options) => {
  const before = document.currentScript.previousElementSibling;
  for (let tries = 0; !window.vegaEmbed; tries++) {
    if (tries > 300) return;
    await new Promise((then) => setTimeout(then, 100));
  }
  const box = before?.id === "%(id)s" ? before : document.getElementById("%(id)s");
  if (box) window.vegaEmbed(box, spec, options).catch(console.warn);
})(%(spec)s, %(options)s);</script>"""


def vega() -> str:
    """Return Vega, Vega-Lite and vega-embed as one script; building it takes seconds, so it is kept."""
    kept = cache_folder() / f"vega-{version('vl-convert-python')}-{version('altair')}.js"
    try:
        sum_, _, text = kept.read_text(encoding="utf-8").partition("\n")
        if sum_ == _sum(text):
            return text
    except (OSError, UnicodeDecodeError):
        pass
    import vl_convert  # noqa: PLC0415  2 s, and only the first time

    text = vl_convert.javascript_bundle(_DOOR, _grammar())
    text = text.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    try:
        make_folder(kept.parent)
        with outputs.writing(kept) as made:
            made.write_text(f"{_sum(text)}\n{text}", encoding="utf-8")
    except (OSError, AuditError):
        return text
    return text


@cache
def scripts() -> str:
    """Return what a page holds once, before its charts."""
    from altair.vegalite.v6.display import VEGA_VERSION, VEGAEMBED_VERSION, VEGALITE_VERSION  # noqa: PLC0415  2 s

    found = f'var VEGA_DEBUG = {{vega_version: "{VEGA_VERSION}", vegalite_version: "{VEGALITE_VERSION}", '
    found += f'vegaembed_version: "{VEGAEMBED_VERSION}"}};'
    once = f"if (!window.vegaEmbed) {{{vega()}}}"  # a cell may run again, and two notebooks share one window
    return f"<script>{once}</script>\n<script>{found}</script>"


def publish() -> None:
    """Put Vega into the notebook that runs, in the output of the cell that runs."""
    publish_display_data({"text/html": scripts()})  # type: ignore[no-untyped-call]


def live(spec: dict[str, Any], *, embed_options: dict[str, Any], **_metadata: Any) -> dict[str, Any]:  # noqa: ANN401 -- the renderer protocol
    """Return a chart for a notebook: a picture that gives way to the chart itself once Vega is there."""
    text = as_script(spec)
    return {
        "text/html": _LIVE
        % {
            "id": "chart-" + hashlib.sha256(text.encode()).hexdigest()[:16],
            "picture": base64.b64encode(_picture(spec, embed_options)).decode(),
            "spec": text,
            "options": as_script(embed_options),
        }
    }


def as_script(value: object) -> str:
    """Return JSON in which no text of the engagement can end the script it stands in."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def _picture(spec: dict[str, Any], options: dict[str, Any]) -> bytes:
    import vl_convert  # noqa: PLC0415  2 s, and only in a lab

    made: bytes = vl_convert.vegalite_to_png(
        json.dumps(spec),
        vl_version=_grammar(),
        scale=_PICTURE_SCALE,
        format_locale=options["formatLocale"],
        time_format_locale=options["timeFormatLocale"],
    )
    return made


def _grammar() -> str:
    import altair as alt  # noqa: PLC0415  2 s, and only the first time

    return ".".join(alt.VEGALITE_VERSION.split(".")[:2])


def _sum(script: str) -> str:
    """Return a kept script's first line: what is not as it was written is not put into a page."""
    return f"// {hashlib.sha256(script.encode()).hexdigest()}"
