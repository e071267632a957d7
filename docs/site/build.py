"""Build the guide: the pages of docs/ as a site in two languages, Chinese at the top and English in `en/`.

    python docs/site/build.py build

writes `build/site`; it opens from disk and asks no network. A page's Chinese twin ends in `.zh-CN.md`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path, PurePosixPath

HOUSE = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TWIN = ".zh-CN.md"
# Pages that stand elsewhere in the site than in the clone; those of docs/ keep their place.
MOVED = {"docs/guide/index.md": "index.md", "CONTRIBUTING.md": "contributing.md", "GLOSSARY.md": "glossary.md"}
LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
SWITCH = re.compile(r"^\*\[.*\]\(.*\)\*$", re.MULTILINE)


def pages() -> dict[str, dict[str, str]]:
    """Return by language what becomes which page: path in the clone to path in the site."""
    written = sorted(path.relative_to(HOUSE).as_posix() for path in (HOUSE / "docs").glob("**/*.md"))
    names = [name for name in written if not name.startswith("docs/decisions/")] + ["CONTRIBUTING.md", "GLOSSARY.md"]
    english = {name: MOVED.get(name, name.removeprefix("docs/")) for name in names if not name.endswith(TWIN)}
    twins = {name: name.removesuffix(".md") + TWIN for name in english}
    chinese = {twins[name] if (HOUSE / twins[name]).is_file() else name: page for name, page in english.items()}
    return {"zh": chinese, "en": english}


def page(source: str, lang: str) -> str:
    """Return a page with its links as they are within the site, and a way to its twin in the other language.

    Raises:
        LookupError: a link leads to what is no page of this language.
    """
    known = pages()[lang]
    text = (HOUSE / source).read_text(encoding="utf-8")
    here = known[source]

    def link(found: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / found[1]).replace(os.sep, "/")
        if target not in known:
            raise LookupError(f"{source}: {found[1]} is no page of the site in {lang}.")
        return f"]({relative(known[target], here)}{found[2] or ''})"

    other, name = ("en", "English") if lang == "zh" else ("zh", "中文")
    there = ("en/" if other == "en" else "../") + here.removesuffix(".md") + ".html"
    up = "../" * here.count("/")
    switch = f'<a href="{up}{there}" hreflang="{other}">{name}</a>'
    return LINK.sub(link, SWITCH.sub("", text, count=1)).replace("\n", f"\n\n{switch}\n", 1)


def relative(target: str, here: str) -> str:
    """Return the way from one page of the site to another."""
    return Path(os.path.relpath(target, PurePosixPath(here).parent)).as_posix()


def build(folder: Path) -> Path:
    """Write the pages and the site below a folder, and return the site's; a broken link fails."""
    staged, site = folder / "guide", folder / "site"
    for place in (staged, site):
        shutil.rmtree(place, ignore_errors=True)
    for lang, known in pages().items():
        for source, name in known.items():
            path = staged / lang / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(page(source, lang), encoding="utf-8")
        shutil.copy(HERE / "iframe-worker.js", staged / lang)
        for config in ("guide.yml", f"{lang}.yml"):
            shutil.copy(HERE / config, staged)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--clean", "-f", staged / f"{lang}.yml"]
        subprocess.run(command, check=True, cwd=staged, env={**os.environ, "NO_COLOR": "1"})
    (staged / "site").replace(site)
    return site


if __name__ == "__main__":
    print(build(Path(sys.argv[1]).resolve()) / "index.html")
