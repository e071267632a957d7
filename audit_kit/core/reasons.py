"""Why a row was set aside, in the reader's language."""

from __future__ import annotations

import re
from functools import cache

from audit_kit import resources


@cache
def _forms() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(english), chinese) for english, chinese in resources.load("reasons")["zh"])


def reason_in(lang: str, reason: str) -> str:
    """Return a reason of `Reading.set_aside` in a language (zh, en); a wording that is not known stays as it is."""
    if lang != "zh":
        return reason
    for english, chinese in _forms():
        reason = english.sub(chinese, reason)
    return reason.replace("; ", "；").replace(": ", "：")
