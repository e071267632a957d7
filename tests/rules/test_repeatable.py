"""The same input gives the same bytes, whatever the hash seed, the number of threads and the turn of the rows."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

from audit_kit.rules.sync.curves import total
from audit_kit.rules.sync.lateness import lateness
from audit_kit.training.world.simulate import simulate

if TYPE_CHECKING:
    from pathlib import Path

WORK = """
import hashlib, sys
import audit_kit

for folder in sys.argv[1:]:
    work = audit_kit.analyse(audit_kit.open_engagement(folder))
    texts = [work.findings.write_csv().encode()]
    for name in ("findings", "matches", "observations", "curves", "stops"):
        getattr(work, name).write_parquet(folder + ".out")
        texts.append(open(folder + ".out", "rb").read())
    print(*(hashlib.sha256(text).hexdigest() for text in texts))
"""
SEEDS_AND_THREADS = ((0, 1), (1, 2), (2, 4), (3, 8))


@pytest.mark.slow
def test_four_runs_write_the_same_bytes(tmp_path: Path) -> None:
    timed, untimed = tmp_path / "timed", tmp_path / "untimed"
    for folder in (timed, untimed):
        arrivals = "platform" if folder == timed else "none"
        simulate(folder, invoices=1500, seed=2, format="csv", arrivals=arrivals, backups=False)
    told = set()
    for seed, threads in SEEDS_AND_THREADS:
        own = {
            "AUDIT_KIT_CACHE": str(tmp_path / f"cache-{seed}"),
            "PYTHONHASHSEED": str(seed),
            "POLARS_MAX_THREADS": str(threads),
        }
        command = [sys.executable, "-P", "-c", WORK, str(timed), str(untimed)]
        done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=True)
        told.add(done.stdout)
    assert len(told) == 1
    (only,) = told
    assert len(set(only.split())) == 11  # only the matches are the same with arrival times and without


def test_totals_do_not_depend_on_the_turn_of_the_rows() -> None:
    draw = np.random.default_rng(1)
    rows = pl.DataFrame({"group": draw.integers(0, 5, 50_000), "value": draw.lognormal(size=50_000)})
    turned = [rows, rows[::-1], pl.concat([rows[30_000:], rows[:30_000]], rechunk=False)]
    sums = [part.group_by("group").agg(total(pl.col("value"))).sort("group") for part in turned]
    assert sums[0].equals(sums[1])
    assert sums[0].equals(sums[2])


def test_lateness_does_not_depend_on_the_turn_of_the_rows() -> None:
    draw = np.random.default_rng(2)
    count = 20_000
    rows = pl.DataFrame(
        {
            "channel": draw.choice(["网页", "乐企"], count),
            "minutes": draw.integers(1, 200, count).astype(float),
            "visible": draw.random(count) < 0.9,
            "since": pl.Series(draw.choice([np.nan, 0.0], count)).fill_nan(None),
            "weight": draw.choice([1.0, 1.1, 1.3, 1.7], count),
        },
    )
    told = lateness(rows)
    assert told.height > 100
    for turned in (rows[::-1], pl.concat([rows[7_000:], rows[:7_000]], rechunk=False)):
        assert lateness(turned).equals(told)
