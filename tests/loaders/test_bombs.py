"""Files of a few bytes that claim, repeat or pack any number of cells: each is refused, in little memory and time."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING

import polars as pl
import pytest
import xlsxwriter

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow

HEAD = ["数电发票号码", "开票日期", "价税合计", "备注"]
LINE = ",".join(HEAD)
SPACE = "urn:schemas-microsoft-com:office:spreadsheet"
ODF = "urn:oasis:names:tc:opendocument:xmlns"
MANIFEST = f'<manifest:manifest xmlns:manifest="{ODF}:manifest:1.0"/>'
MOST_MEMORY_GB = 3  # for all of them, one after the other
MOST_SECONDS = 60  # for all of them
LARGEST_BYTES = 10_000_000
CHILD = """
import json, resource, sys
from pathlib import Path
from audit_kit.core.errors import SourceError
from audit_kit.loaders.tables.pipeline import read
def said_of(path):
    try:
        reading = read(path, table="ledger")
    except SourceError as error:
        return str(error)
    return f"kept {reading.rows.height}, set aside {reading.set_aside.height}"
said = {path.name: said_of(path) for path in sorted(Path(sys.argv[1]).iterdir())}
used = [resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(json.dumps([said, used[0].ru_maxrss / 2**20, sum(one.ru_utime + one.ru_stime for one in used)]))
"""


def _old_excel(*sheets: str) -> str:
    tables = "".join(f'<Worksheet ss:Name="s{at}"><Table>{rows}</Table></Worksheet>' for at, rows in enumerate(sheets))
    return f'<?xml version="1.0"?><Workbook xmlns="{SPACE}" xmlns:ss="{SPACE}">{tables}</Workbook>'


def _cell(words: str, **more: object) -> str:
    said = "".join(f' ss:{name}="{value}"' for name, value in more.items())
    return f'<Cell{said}><Data ss:Type="String">{words}</Data></Cell>'


def _packed(parts: dict[str, str]) -> bytes:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return whole.getvalue()


def _ods(*, rows: int, columns: int) -> bytes:
    """A sheet whose one cell is repeated."""
    names = " ".join(f'xmlns:{name}="{ODF}:{name}:1.0"' for name in ("office", "table", "text"))
    cell = f'<table:table-cell office:value-type="string" table:number-columns-repeated="{columns}"><text:p>x</text:p>'
    row = f'<table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-cell></table:table-row>'
    table = f'<table:table table:name="s">{row}</table:table>'
    content = (
        f"<office:document-content {names}><office:body><office:spreadsheet>{table}</office:spreadsheet></office:body>"
        "</office:document-content>"
    )
    return _packed(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content,
            "META-INF/manifest.xml": MANIFEST,
        }
    )


def _workbook(part: str, old: str, new: str) -> bytes:
    """A workbook, one of whose parts is changed."""
    whole = io.BytesIO()
    with xlsxwriter.Workbook(whole) as book:
        sheet = book.add_worksheet("s")
        sheet.write_row(0, 0, HEAD)
        sheet.write_row(1, 0, ["1", "2", "3", "4"])
    with zipfile.ZipFile(whole) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert old in parts[f"xl/{part}"]
    return _packed(parts | {f"xl/{part}": parts[f"xl/{part}"].replace(old, new, 1)})


def _row(cell: str) -> bytes:
    return _workbook("worksheets/sheet1.xml", "</sheetData>", f'<row r="1048576">{cell}</row></sheetData>')


def _overlapping(copies: int) -> bytes:
    """An archive whose every entry is the same bytes."""
    one = _packed({"xl/a.xml": " " * (9 << 20)})
    list_, end = one.find(b"PK\1\2"), one.rfind(b"PK\5\6")
    entry, tail = one[list_:end], bytearray(one[end:])
    tail[8:16] = struct.pack("<HHI", copies, copies, len(entry) * copies)
    return one[:list_] + entry * copies + tail


def _lying() -> bytes:
    """An archive with an entry that says it is small."""
    data = bytearray(_packed({"xl/workbook.xml": "<workbook/>", "xl/a.xml": " " * (150 << 20)}))
    at = data.rfind(b"PK\1\2")
    data[at + 24 : at + 28] = struct.pack("<I", 10)
    return bytes(data)


def _repeated(rows: int) -> bytes:
    whole = io.BytesIO()
    table = pl.DataFrame({name: pl.repeat("1", rows, eager=True) for name in HEAD[:3]})
    table.write_parquet(whole, row_group_size=1 << 18)
    return whole.getvalue()


def _long_texts() -> bytes:
    whole = io.BytesIO()
    table = pl.DataFrame({name: ["1"] * 25 for name in HEAD[:3]} | {"备注": ["甲" * (1 << 22)] * 25})
    table.write_parquet(whole, compression_level=19)
    return whole.getvalue()


FAR, OPENED, PACKED = (
    "which no table of invoices in a file of this size does",
    "takes far more memory",
    "unpacks to far",
)
STRAY = f'{LINE}\n25112000000000000001,2025-05-01,1.00,"'
BOMBS: dict[str, tuple[Callable[[], bytes | str], str]] = {
    "index.xml": (lambda: _old_excel(f'<Row ss:Index="1048000">{_cell("x", Index=2000)}</Row>'), FAR),
    "sheets.xml": (lambda: _old_excel(*[f'<Row ss:Index="90000">{_cell("x")}</Row>'] * 300), FAR),
    "merged.xml": (lambda: _old_excel(f"<Row>{_cell('x', MergeAcross=10**6, MergeDown=10**6)}</Row>"), "has no column"),
    "colspan.html": (lambda: "<html><table>" + "<tr><td colspan=2000>x" * 20_000 + "</table>", FAR),
    "nested.html": (lambda: "<html>" + "<table><tr><td>" * 200 + "<tr><td>x" * 50_000, "has no column"),
    "newlines.csv": (lambda: f"{LINE}{',' * 1900}\n" + "\n" * 100_000, FAR),
    "blank lines.csv": (lambda: f"{LINE}\n" + "\n" * 1_600_000, FAR),
    "old lines.csv": (lambda: f"{LINE}\r" + "\r" * 1_600_000, FAR),
    "open quote.csv": (lambda: STRAY + "a\n" * 50_000, "kept 0, set aside 50000"),
    "empty.json": (lambda: json.dumps([dict.fromkeys([*HEAD, *map(str, range(1900))], "1"), *[{}] * 100_000]), FAR),
    "wide.json": (lambda: json.dumps([{f"{at % 1999}": at} for at in range(20_000)]), FAR),
    "deep.json": (lambda: "[" * 200_000, "no complete JSON"),
    "repeated.parquet": (lambda: _repeated(1_100_000), FAR),
    "long.parquet": (_long_texts, PACKED.removesuffix(" far")),
    "far.xlsx": (lambda: _row('<c r="XFD1048576"><v>1</v></c>'), FAR),
    "far in other quotes.xlsx": (lambda: _row("<c r='XFD1048576'><v>1</v></c>"), OPENED),
    "no place.xlsx": (lambda: _row("<c><v>1</v></c>" * 2000), OPENED),
    "shared.xlsx": (lambda: _workbook("sharedStrings.xml", "</sst>", "<si><t/></si>" * (9 << 20) + "</sst>"), PACKED),
    "styles.xlsx": (lambda: _workbook("styles.xml", "</cellXfs>", "<xf/>" * (22 << 20) + "</cellXfs>"), PACKED),
    "overlapping.xlsx": (lambda: _overlapping(15_000), PACKED),
    "lying.xlsx": (_lying, PACKED),
    "columns.ods": (lambda: _ods(rows=1, columns=2_000_000_000), FAR),
    "rows.ods": (lambda: _ods(rows=1_040_000, columns=3), FAR),
}


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], float, float]:
    """What reading each of them says, in one process, the memory that takes in GB, and the seconds of processor."""
    folder = tmp_path_factory.mktemp("bombs")
    for name, (make, _) in BOMBS.items():
        content = make()
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    assert max(path.stat().st_size for path in folder.iterdir()) < LARGEST_BYTES
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)], capture_output=True, text=True, timeout=300, check=True
    )
    said, memory, seconds = json.loads(done.stdout)
    return said, memory, seconds


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_or_read_in_one_sentence(name: str, answers: tuple[dict[str, str], float, float]) -> None:
    said = answers[0][name]
    assert BOMBS[name][1] in said
    assert "\n" not in said


def test_bombs_take_little_memory_and_time(answers: tuple[dict[str, str], float, float]) -> None:
    _, memory, seconds = answers
    assert memory < MOST_MEMORY_GB
    assert seconds < MOST_SECONDS
