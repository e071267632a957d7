"""Commands around backups that need no engagement: a manifest of a folder, and a restore held against the archive."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audit_kit.cli.options import add_without, moment
from audit_kit.core.errors import EXIT_DONE, EXIT_FINDINGS, RequestError
from audit_kit.core.words import Words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    import polars as pl

    from audit_kit.cli.parsing import Parser


def add(command: Callable[..., Parser]) -> None:
    """Add `verify-restore` and `manifest` to the command line."""
    sub = command(
        "verify-restore",
        _verify_restore,
        "command.verify_restore",
        "verify-restore /tmp/restored --archive engagements/acme --repo main --backup 4f0c1d2e --out restore_tests.csv",
    )
    sub.add_argument("folder", type=Path, metavar="metavar.dir", help="option.restored")
    sub.add_argument("--archive", type=Path, required=True, help="option.archive")
    sub.add_argument("--repo", required=True, help="option.repo")
    sub.add_argument("--backup", help="option.backup")
    sub.add_argument("--performed-at", type=moment, metavar="metavar.time", help="option.performed_at")
    sub.add_argument("--by", help="option.by")
    add_without(sub)
    sub.add_argument("--out", type=Path, required=True, help="option.evidence")

    sub = command(
        "manifest",
        _manifest,
        "command.manifest",
        "manifest invoices --out invoices.2025-05-31.sha256",
    )
    sub.add_argument("folder", type=Path, metavar="metavar.dir")
    sub.add_argument("--out", type=Path, help="option.manifest_out")
    sub.add_argument("--cache", type=Path, help="option.cache")


def _verify_restore(options: argparse.Namespace) -> int:
    from audit_kit.core import outputs
    from audit_kit.loaders.catalogues.restores import verify_restore, write_evidence

    outputs.check(options.out)
    if options.out.exists():
        raise RequestError("error_cli.evidence_there", file=options.out.name)
    found = verify_restore(
        options.folder,
        _archive(options.archive, options.without),
        repo_id=options.repo,
        backup_id=options.backup,
        performed_at=options.performed_at,
        by=options.by,
        progress=sys.stderr.isatty(),
    )
    write_evidence(found.row, options.out)
    states = dict(found.files["state"].value_counts(sort=True).iter_rows())
    if options.json:
        print(json.dumps({**found.row, "files": states}, ensure_ascii=False, indent=2, default=str))
    else:
        words, row = Words(options.lang), found.row
        result, level = words(f"restored.{row['result']}"), row["level"] or words("unit.nothing")
        scope = words("unit.nothing") if row["scope_pct"] is None else row["scope_pct"]
        print(words("console.restored", out=options.out, result=result, level=level, scope=scope))
        print("\n".join(f"{count:>12,}  {words(f'restored.{state}')}" for state, count in states.items()))
    return EXIT_DONE if found.is_good else EXIT_FINDINGS


def _archive(path: Path, without: list[str]) -> Path | pl.DataFrame:
    """Return the archive's folder, or the invoice files of an engagement with their hashes."""
    if not (path / "audit.toml").is_file():
        if without:
            raise RequestError("error_cli.without_engagement", path=path)
        return path
    from audit_kit.loaders.catalogues.reader import every_file
    from audit_kit.loaders.engagement.engagement import open_engagement

    engagement = open_engagement(path, without=without)
    return every_file(engagement.reading("invoice_files"), engagement.folder).select("path", "sha256")


def _manifest(options: argparse.Namespace) -> int:
    from audit_kit.core import outputs, spreadsheet_csv
    from audit_kit.core.hashing import hash_files, sums

    inputs = [options.folder, *([options.cache] if options.cache else [])]
    writers: dict[str, Callable[[Path], object]] = {
        ".sha256": lambda made: made.write_text(sums(frame), encoding="utf-8", newline="\n"),
        ".csv": lambda made: spreadsheet_csv.write_csv(frame, made),
        ".parquet": lambda made: outputs.write_parquet(frame, made),
    }
    if options.out is not None:
        outputs.check_ending(options.out, writers)
        outputs.check(options.out, inputs=inputs)
    frame = hash_files(options.folder, cache=options.cache, progress=sys.stderr.isatty())
    if options.out is None:
        print(frame.write_json() if options.json else sums(frame), end="")
        return EXIT_DONE
    outputs.write_as(options.out, writers, inputs=inputs)
    told = {"out": str(options.out), "files": frame.height, "bytes": int(frame["size"].sum())}
    print(json.dumps(told) if options.json else f"{told['out']}: {frame.height:,}")
    return EXIT_DONE
