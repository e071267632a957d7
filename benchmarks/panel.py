"""How long a filter of a panel takes until the screen shows it, and what the page holds: JupyterLab in Chromium.

`--rows 100000 1000000 --rounds 15`. Each filter is timed in the browser, from the change of the control to the picture
that shows the new count; medians are printed as lines of a table.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

import nbformat
from playwright.sync_api import Page, sync_playwright

from audit_kit.report import lab

TOKEN = "panel"  # noqa: S105 - of a server that lives as long as this run
WAIT = 600_000
CODE = """
import altair as alt
import polars as pl
from datetime import datetime
from audit_kit.views.show.panel import Columns, Panel

n = {rows}
i = pl.int_range(n, eager=True)
channels = pl.lit(pl.Series(["网页"] * 4 + ["乐企"] * 3 + ["税控"] * 2 + ["移动端"]))
rows = pl.select(
    channel=channels.gather(i % 10),
    key="2511200000" + (i * 7919 % 9999991).cast(pl.String).str.zfill(10),
    at=pl.lit(datetime(2025, 1, 1)) + pl.duration(minutes=i % 500_000),
    amount=(i * 7919 % 1_000_003).cast(pl.Decimal(18, 2)) / 100,
    buyer="北京示例贸易有限公司 " + (i % 3000).cast(pl.String),
    text="已等待若干小时，同渠道此时大多已入库；发票 " + i.cast(pl.String),
)
columns = Columns(
    choices={{"channel": "渠道"}},
    listed={{"channel": "渠道", "key": "号码", "at": "时间", "amount": "金额", "buyer": "购买方", "text": "证据"}},
    searched=("key", "buyer", "text"),
    amount="amount",
    day="at",
)

def draw(found):
    days = found.group_by("channel", day=pl.col("at").dt.truncate("1mo")).agg(n=pl.len())
    return alt.Chart(days, width=600).mark_bar().encode(x="yearmonth(day):T", y="n:Q", color="channel:N")

Panel(rows, columns, draw)
"""
RUN = """async () => {
  const panel = window.jupyterapp.shell.currentWidget;
  await panel.context.ready; await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  await window.jupyterapp.commands.execute('notebook:run-all-cells');
}"""
TIMED = """async ([kind, value]) => {
  const grid = document.querySelector('.audit-kit-grid');
  const place = grid.querySelector('.audit-kit-place'), before = place.textContent;
  const box = grid.closest('.jp-OutputArea-output');
  const began = performance.now();
  const shown = new Promise((then) => {
    const watch = new MutationObserver(() => {
      if (place.textContent === before) return;
      watch.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => then(performance.now() - began)));
    });
    watch.observe(place, {childList: true, characterData: true, subtree: true});
  });
  if (kind === 'choice') {
    const list = box.querySelector('.widget-dropdown select');
    list.selectedIndex = value;
    list.dispatchEvent(new Event('change', {bubbles: true}));
  } else if (kind === 'search') {
    const text = Array.from(box.querySelectorAll('.widget-text input[type=text]')).at(-1);
    text.value = value;
    text.dispatchEvent(new Event('input', {bubbles: true}));
    text.dispatchEvent(new Event('change', {bubbles: true}));
    text.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter', bubbles: true}));
  } else {
    box.querySelector('.audit-kit-grid [aria-label="下一页"]').click();
  }
  return await Promise.race([shown, new Promise((then) => setTimeout(() => then(-1), 20000))]);
}"""


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    options.add_argument("--rounds", type=int, default=15)
    asked = options.parse_args()
    print("| rows | filter to screen, median s | slowest s | page turned, median s | page's heap MB | renderer MB |")
    print("|---|---|---|---|---|---|")
    for rows in asked.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(Path(folder), rows, asked.rounds), flush=True)


def measured(folder: Path, rows: int, rounds: int) -> str:
    """Return the line of one size."""
    books, settings = folder / "books", folder / "settings"
    books.mkdir()
    settings.mkdir()
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    notebook = nbformat.v4.new_notebook(metadata=kernel, cells=[nbformat.v4.new_code_cell(CODE.format(rows=rows))])
    nbformat.write(notebook, books / "panel.ipynb")
    lab.write_settings(settings, lang="zh")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    command = [
        *lab._command(books, settings, port=port, browser=False),  # noqa: SLF001 - the lab as the command starts it
        f"--IdentityProvider.token={TOKEN}",
        "--LabApp.expose_app_in_browser=True",
    ]
    environment = lab._environment(settings, books) | {"AUDIT_KIT_CACHE": str(folder / "cache")}  # noqa: SLF001 - the same
    with subprocess.Popen(
        command, env=environment, cwd=books, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/api")
            with sync_playwright() as tool:
                chromium = shutil.which("chromium") or shutil.which("google-chrome")
                browser = tool.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
                page = browser.new_page(viewport={"width": 1280, "height": 900}, locale="zh-CN")
                page.goto(f"http://127.0.0.1:{port}/lab/tree/panel.ipynb?reset&token={TOKEN}", timeout=WAIT)
                line = _line(page, rows, rounds)
                browser.close()
                return line
        finally:
            server.terminate()


def _line(page: Page, rows: int, rounds: int) -> str:
    page.wait_for_selector(".jp-NotebookPanel .jp-Cell", timeout=WAIT)
    page.wait_for_function("() => window.jupyterapp?.shell?.currentWidget?.context?.isReady", timeout=WAIT)
    page.evaluate(RUN)
    page.locator(".audit-kit-grid tbody tr").first.wait_for(timeout=WAIT)
    page.wait_for_timeout(3000)
    asked = [("choice", 1 + place % 4) for place in range(rounds)] + [
        ("search", f"{place + 1}9") for place in range(rounds // 2)
    ]
    filters = [page.evaluate(TIMED, list(one)) / 1000 for one in asked if not page.wait_for_timeout(400)]
    turns = [page.evaluate(TIMED, ["turn", 0]) / 1000 for _ in range(10) if not page.wait_for_timeout(200)]
    filters = [seconds for seconds in filters if seconds > 0]
    client = page.context.new_cdp_session(page)
    client.send("HeapProfiler.collectGarbage")
    heap = client.send("Runtime.getHeapUsage")["usedSize"]
    return (
        f"| {rows:,} | {statistics.median(filters):.2f} | {max(filters):.2f} | {statistics.median(turns):.2f} "
        f"| {heap / 1e6:,.0f} | {_renderer_bytes() / 1e6:,.0f} |"
    )


def _renderer_bytes() -> int:
    """Return the proportional memory of the largest renderer of our browser."""
    sizes = [0]
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"--type=renderer" not in (folder / "cmdline").read_bytes() or not _is_ours(int(folder.name)):
                continue
            lines = (folder / "smaps_rollup").read_text().splitlines()
        except (OSError, ValueError):
            continue
        sizes += [int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")]
    return max(sizes)


def _is_ours(process: int) -> bool:
    while process > 1:
        if process == os.getpid():
            return True
        status = Path(f"/proc/{process}/status").read_text()
        process = int(status.partition("PPid:")[2].split()[0])
    return False


def _wait_for(address: str) -> None:
    for _ in range(120):
        try:
            with urllib.request.urlopen(address, timeout=2):  # noqa: S310 - our own server
                return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"{address} does not answer")


if __name__ == "__main__":
    main()
