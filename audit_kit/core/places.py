"""What comes with the kit beside its code: the notebooks and the sample engagement."""

from __future__ import annotations

from pathlib import Path

from audit_kit.core.errors import RequestError

PACKAGE = Path(__file__).parents[1]


def notebooks() -> list[Path]:
    """Return the notebooks that come with the kit, in order: of a checkout, else of the installed package."""
    folder = next((place for place in (PACKAGE.parent / "notebooks", PACKAGE / "notebooks") if place.is_dir()), PACKAGE)
    return sorted(folder.glob("[0-9][0-9]_*.ipynb"))


def sample() -> Path:
    """Return the folder of the sample engagement: inside the installed package, else in the checkout.

    Raises:
        RequestError: it is in neither.
    """
    for folder in (PACKAGE / "sample", PACKAGE.parent / "data" / "sample"):
        if folder.is_dir():
            return folder
    raise RequestError("error_core.no_sample")
