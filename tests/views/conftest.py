"""Pages of simulated engagements: a full one with hostile names, and one with nothing but ledger and platform."""

from __future__ import annotations

import shutil

import pytest

from audit_kit.training.world.simulate import simulate
from audit_kit.views.show.page import open_page

INVOICES = 900


@pytest.fixture(scope="session")
def engagement(tmp_path_factory):
    folder = tmp_path_factory.mktemp("views") / "full"
    simulate(folder, invoices=INVOICES, seed=11, month="2025-05", format="parquet", hostile=True)
    return folder


@pytest.fixture(scope="session")
def bare_engagement(engagement):
    folder = engagement.parent / "bare"
    folder.mkdir()
    for name in ("ledger", "platform"):
        shutil.copytree(engagement / name, folder / name)
    (folder / "audit.toml").write_text('[engagement]\nname = "bare"\n', encoding="utf-8")
    return folder


@pytest.fixture(scope="session", autouse=True)
def kept_apart(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("AUDIT_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("AUDIT_KIT_BATCH", "1")
    yield
    patch.undo()


@pytest.fixture(scope="session")
def page(engagement):
    return open_page(str(engagement), month="2025-05")


@pytest.fixture(scope="session")
def english(engagement):
    return open_page(str(engagement), month="2025-05", lang="en", redact=True)


@pytest.fixture(scope="session")
def bare(bare_engagement):
    return open_page(str(bare_engagement), month="2025-05")
