"""From tables to what a person sees: charts, tables, panels, one invoice's story, problem reports."""

from __future__ import annotations


def setup(lang: str = "zh", *, batch: bool | None = None) -> None:
    """Choose theme, language and the way charts reach the screen: see theme.setup."""
    from audit_kit.views.show import theme  # noqa: PLC0415 -- Altair takes 2 s, and most callers draw nothing

    theme.setup(lang, batch=batch)
