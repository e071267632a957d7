"""The days that all panels of a page share."""

from __future__ import annotations

from datetime import date

import traitlets


class Period(traitlets.HasTraits):
    """First and last day that are asked for, both included; null = no bound."""

    first = traitlets.Instance(date, allow_none=True)
    last = traitlets.Instance(date, allow_none=True)
