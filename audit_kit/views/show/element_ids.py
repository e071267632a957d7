"""Ids of what a page holds: in a report the same whenever it is made, in a lab never given twice."""

from __future__ import annotations

import os
from itertools import count
from secrets import token_hex

BATCH = "AUDIT_KIT_BATCH"
_turns = count(1)


def element_id(kind: str) -> str:
    """Return a new id for a chart or a table of a page.

    A report runs each page in a kernel of its own from the first cell to the last, so that counting gives the same
    ids again. In a lab cells run in any order and stay when the kernel is another.
    """
    return f"{kind}-{next(_turns) if os.environ.get(BATCH) else token_hex(8)}"
