"""What of an engagement may lead out of its folder: asked for once, kept among the user's own settings.

An audit.toml comes from the company that is audited. Hosts and paths outside of the folder that it names are used only
after the user has allowed exactly these, for exactly this folder. The settings lie in the folder that
`AUDIT_KIT_CONFIG` names, else in the user's own.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import platformdirs

from audit_kit.core.errors import EngagementError, RequestError, of_system
from audit_kit.resources.languages import Phrase, reader_language

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

FILE = "allowed.toml"
MAIL = "notify"  # the section of audit.toml that says who is mailed
YES = ("y", "yes", "是")


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way out of an engagement: its table, the place as it is allowed, and the user of a database or nothing."""

    table: str
    place: str
    user: str = ""


def require(folder: Path, ways: Sequence[Way], *, allow: Collection[str] = ()) -> None:
    """Return if every way out of an engagement is allowed; ask on a terminal, and keep what is answered with yes.

    Args:
        folder: the engagement's folder, resolved.
        ways: what leads out of it.
        allow: places that the caller allows for this once.

    Raises:
        EngagementError: one is not allowed; says the command that would allow it.
    """
    open_ways = asked_for(folder, ways, allow=allow)
    if open_ways and _is_terminal():
        keep(folder, [way for way in open_ways if ask(folder, way)])
        open_ways = asked_for(folder, ways, allow=allow)
    if open_ways:
        way = open_ways[0]
        command = f"audit-kit allow {shlex.quote(shown(str(folder)))} {shlex.quote(shown(way.place))}"
        raise EngagementError("error_engagement.way_out", table=way.table, place=shown(way.place), command=command)


def allow(folder: Path, ways: Sequence[Way], places: Sequence[str]) -> None:
    """Keep the places named, or without any ask for each on a terminal.

    Raises:
        RequestError: a place is none of the ways out.
    """
    known = {shown(way.place) for way in ways}
    for place in places:
        if place not in known:
            listed = ", ".join(sorted(known)) or Phrase("error_core.none")
            raise RequestError("error_engagement.no_such_way", listed=listed)
    wanted = [way for way in ways if shown(way.place) in places]
    if not places and _is_terminal():
        wanted = [way for way in asked_for(folder, ways) if ask(folder, way)]
    if wanted:
        keep(folder, wanted)


def asked_for(folder: Path, ways: Iterable[Way], *, allow: Collection[str] = ()) -> list[Way]:
    """Return the ways out that nobody has allowed."""
    asked = [way for way in dict.fromkeys(ways) if _text(way.place) not in allow]
    known = allowed().get(_text(str(folder)), ()) if asked else ()
    return [way for way in asked if _text(way.place) not in known]


def ask(folder: Path, way: Way, *, source: TextIO | None = None, out: TextIO | None = None) -> bool:
    """Ask the person at the terminal whether a way out may be taken."""
    out = out or sys.stderr
    user = Phrase("error_engagement.as_user", user=shown(way.user)) if way.user else ""
    key = "ask_mail" if way.table == MAIL else "ask_allow"
    question = Phrase(f"error_engagement.{key}", table=way.table, place=shown(way.place), user=user)
    out.write(f"{shown(str(folder))}\n  {question.said(reader_language())} ")
    out.flush()
    return (source or sys.stdin).readline().strip().casefold() in YES


def keep(folder: Path, ways: Iterable[Way]) -> None:
    """Keep ways out of an engagement as allowed."""
    known = allowed()
    key = _text(str(folder))
    known[key] = sorted({*known.get(key, ()), *(_text(way.place) for way in ways)})
    _write(known)


def _write(known: Mapping[str, Sequence[str]]) -> None:
    lines = [f"[{_quoted(place)}]\nallowed = [{', '.join(map(_quoted, known[place]))}]\n" for place in sorted(known)]
    file = config_folder() / FILE
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as made:
                made.write("\n".join(lines))
            Path(name).replace(file)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise RequestError("error_engagement.permits_closed", file=file, why=of_system(error.strerror)) from error


def text_of(folder: Path) -> str:
    """Return what an engagement is called among what is allowed."""
    return _text(str(folder))


def forget(folder: Path) -> None:
    """Allow nothing any more to the engagement in a folder."""
    known = allowed()
    if known.pop(_text(str(folder)), None) is not None:
        _write(known)


def allowed() -> dict[str, list[str]]:
    """Return the places allowed so far, by engagement.

    Raises:
        RequestError: the user's settings cannot be read.
    """
    try:
        content = tomllib.loads((config_folder() / FILE).read_text(encoding="utf-8"))
        return {key: [str(place) for place in value["allowed"]] for key, value in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RequestError("error_engagement.permits_broken", file=config_folder() / FILE, error=error) from error


def shown(text: str) -> str:
    """Return a text that cannot steer a terminal."""
    return "".join(sign if sign.isprintable() else "?" for sign in text)


def _is_terminal() -> bool:
    streams = (sys.stdin, sys.stderr)
    return "AUDIT_KIT_BATCH" not in os.environ and all(stream is not None and stream.isatty() for stream in streams)


def config_folder() -> Path:
    """Return the folder of the user's own settings."""
    own = os.environ.get("AUDIT_KIT_CONFIG") or platformdirs.user_config_dir("audit-kit", appauthor=False)
    return Path(own)


def _text(name: str) -> str:
    """Return a name as UTF-8 can hold it."""
    return name.encode("utf-8", errors="backslashreplace").decode()


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
