"""From an executed notebook to one HTML page that needs nothing but itself.

Charts find Vega in the page (see `views.show.vega`). A content security policy
forbids every request, so that a page which would need one fails our tests and not the reader.
"""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from audit_kit.core import outputs
from audit_kit.core.words import Words
from audit_kit.views.show import vega

if TYPE_CHECKING:
    from pathlib import Path

    from nbformat import NotebookNode

CONTENT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' data: blob:; style-src 'unsafe-inline' data:;"
    " img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
INJECTED = "injected-parameters"  # the tag of the cell that papermill puts in
_HEADING = re.compile(r"<h([1-3])[^>]*\bid=\"([^\"]+)\"[^>]*>(.*?)</h\1>", re.DOTALL)
_ANCHOR = re.compile(r"<a class=\"anchor-link\".*?</a>", re.DOTALL)
_TAG = re.compile(r"<[^>]+>")


def render(template: str, *, lang: str, **context: Any) -> str:  # noqa: ANN401  each template has its own
    """Return a page from one of the templates; every value is escaped unless it is Markup."""
    return (
        _environment()
        .get_template(f"{template}.html.j2")
        .render(
            lang=lang, words=Words(lang), css=_style(), policy=CONTENT_POLICY, version=version("audit-kit"), **context
        )
    )


def notebook_page(notebook: NotebookNode, *, file: str, lang: str, **context: Any) -> str:  # noqa: ANN401  see render
    """Return an executed notebook as a page; `context` is what the frame around it shows (head, tabs)."""
    body = _cells(notebook, lang=lang)
    return render(
        "page",
        lang=lang,
        title=title_of(notebook, default=file),
        file=file,
        body=Markup(body),  # noqa: S704  what the notebook's own cells drew
        contents=_contents(body),
        scripts=Markup(f"{vega.scripts()}\n<script>{_names()}</script>"),  # noqa: S704  the library's text and ours
        **context,
    )


def title_of(notebook: NotebookNode, *, default: str) -> str:
    """Return the text of a notebook's first heading."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for line in cell.source.splitlines():
                if line.startswith("# "):
                    return str(line[2:].strip())
    return default


def short(title: str) -> str:
    """Return what stands before a title's colon: what a tab has room for."""
    return re.split("[：:]", title)[0].strip()


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with outputs.writing(path) as made:
        made.write_text(text, encoding="utf-8")


def _cells(notebook: NotebookNode, *, lang: str) -> str:
    from nbconvert.exporters import HTMLExporter  # noqa: PLC0415  3 s

    exporter = HTMLExporter(  # type: ignore[no-untyped-call]
        template_name="lab",
        template_file="base.html.j2",
        exclude_input=True,
        exclude_input_prompt=True,
        exclude_output_prompt=True,
        embed_images=True,
        extra_template_basedirs=[],  # else the folder we stand in, where a client's templates would run
        language_code=lang,
    )
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if INJECTED in cell.metadata.get("tags", ()):
            cell.id = INJECTED  # else another in every run
    body, _ = exporter.from_notebook_node(notebook)
    return str(body)


def _contents(body: str) -> list[dict[str, str]]:
    return [
        {"level": level, "id": unescape(name), "text": unescape(_TAG.sub("", _ANCHOR.sub("", text))).strip()}
        for level, name, text in _HEADING.findall(body)
    ]


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("audit_kit", "resources/report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )


@cache
def _style() -> Markup:
    return Markup(_ours("report.css"))  # noqa: S704  our own file


@cache
def _names() -> str:
    return _ours("names.js")


def _ours(name: str) -> str:
    return files("audit_kit").joinpath("resources", "report", name).read_text(encoding="utf-8")
