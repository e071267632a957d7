"""Reading a platform export: time beside plain polars, in pairs, and peak memory, each in a process of its own (Linux).

python benchmarks/reading.py [--workbook-rows 100000] [--text-rows 2000000] [--pairs 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import xlsxwriter

HEADERS = [
    "序号", "发票代码", "发票号码", "数电发票号码", "销方识别号", "销方名称", "购方识别号", "购买方名称", "开票日期",
    "金额", "税额", "价税合计", "发票来源", "发票票种", "发票状态", "是否正数发票", "发票风险等级", "开票人", "备注",
]  # fmt: skip
MONEY = ("金额", "税额", "价税合计")
OURS = """
import time
from audit_kit.loaders.tables.pipeline import read
start = time.perf_counter()
rows = read({path!r}, table="platform").rows.height
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - start, peak, rows)
"""
PLAIN = """
import time
import polars as pl
start = time.perf_counter()
rows = {plain}.height
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(time.perf_counter() - start, peak, rows)
"""


def invoices(count: int) -> pl.DataFrame:
    """Make the rows of an export, 19 columns; amounts in yuan."""
    chance = random.Random(1)  # noqa: S311 (sample data, no secret)
    start = datetime(2025, 5, 1)  # noqa: DTZ001 (Beijing time, without zone as everywhere)
    net = [chance.randint(100, 10**7) for _ in range(count)]
    tax = [round(cents * 0.06) for cents in net]
    at = [start + timedelta(seconds=i * 2_600_000 // count) for i in range(count)]
    columns: dict[str, object] = {
        "序号": [str(i + 1) for i in range(count)],
        "数电发票号码": [f"25112{1_000_000 + 7 * i:015d}" for i in range(count)],
        "销方识别号": "91110108MA01ABCD00",
        "销方名称": "北京甲科技有限公司",
        "购方识别号": [f"91110105MA02EFG{i % 90:02d}X" for i in range(count)],
        "购买方名称": [f"客户{i % 5000}（上海）有限公司" for i in range(count)],
        "开票日期": [f"{moment:%Y-%m-%d %H:%M:%S}" for moment in at],
        "金额": [cents / 100 for cents in net],
        "税额": [cents / 100 for cents in tax],
        "价税合计": [(a + b) / 100 for a, b in zip(net, tax, strict=True)],
        "发票来源": "电子发票服务平台",
        "发票票种": "数电发票（普通发票）",
        "发票状态": "正常",
        "是否正数发票": "是",
        "发票风险等级": "正常",
        "开票人": "张三",
        "备注": [f"合同 {i}" if i % 3 == 0 else None for i in range(count)],
    }
    frame = pl.select(pl.int_range(count).alias("序号")).with_columns(
        (pl.lit(value) if isinstance(value, str) else pl.Series(name, value)).alias(name)
        for name, value in columns.items()
    )
    return frame.with_columns(发票代码=pl.lit(None, pl.String), 发票号码=pl.lit(None, pl.String)).select(HEADERS)


def write_workbook(frame: pl.DataFrame, path: Path) -> None:
    """Write the export as the platform does: text but for the amounts."""
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("发票基础信息")
        sheet.write_row(0, 0, frame.columns)
        for at, row in enumerate(frame.iter_rows(), start=1):
            for column, cell in enumerate(row):
                if isinstance(cell, str):
                    sheet.write_string(at, column, cell)
                elif cell is not None:
                    sheet.write_number(at, column, cell)


def measured(code: str) -> tuple[float, float, int]:
    """Run code in a fresh process; return seconds, peak MiB and rows as it prints them."""
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    seconds, peak, rows = run.stdout.split()
    return float(seconds), int(peak) / 1024, int(rows)


def compare(name: str, path: Path, plain: str, *, pairs: int) -> None:
    """Print the median of ours and of plain polars, run in turns, and the ratio of the pairs."""
    runs = [(measured(OURS.format(path=str(path))), measured(PLAIN.format(plain=plain))) for _ in range(pairs)]
    ours, theirs = (statistics.median(run[side][0] for run in runs) for side in (0, 1))
    ratio = statistics.median(mine[0] / plain_[0] for mine, plain_ in runs)
    peak = max(mine[1] for mine, _ in runs)
    print(f"{name}: {ours:.2f} s, plain polars {theirs:.2f} s, ratio {ratio:.2f}, peak {peak:,.0f} MiB")


def main() -> None:
    """Make both files, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workbook-rows", type=int, default=100_000)
    parser.add_argument("--text-rows", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="audit-kit-") as folder:
        workbook, text = Path(folder) / "export.xlsx", Path(folder) / "export.csv"
        write_workbook(invoices(options.workbook_rows), workbook)
        invoices(options.text_rows).write_csv(text)
        excel = f"pl.read_excel({str(workbook)!r}, engine='calamine')"
        compare(f"xlsx, {options.workbook_rows:,} rows × 19", workbook, excel, pairs=options.pairs)
        compare(f"csv, {options.text_rows:,} rows × 19", text, f"pl.read_csv({str(text)!r})", pairs=options.pairs)


if __name__ == "__main__":
    main()
