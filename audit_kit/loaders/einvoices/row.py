"""One e-invoice file as a row, or the reason why it is set aside.

Faults are what no true e-invoice shows (`file_faults`), hints what a careful eye looks at twice (`file_hints`):
number_malformed, number_differs (EIid), name_differs (the file's name holds another number), sums_differ (net + tax is
not gross), lines_differ (from the totals), year_differs (digits 1-2 and date of issue), signed_before_requested;
number_from_name, gross_computed, unsigned, buyer_id_empty, tax_rate_unusual, tax_missing.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from stat import S_ISREG
from typing import Any

from audit_kit.loaders.einvoices.xml import BrokenFileError, Fields, described, read_xml

LARGEST_FILE = 64 << 20
BEIJING = timezone(timedelta(hours=8))
IN_NAME = re.compile(r"(?<!\d)\d{20}(?!\d)")
MOMENT = re.compile(r"(\d{4})\D{0,3}(\d{1,2})\D{0,3}(\d{1,2})(?:\D{1,3}(\d{1,2}):(\d{2})(?::(\d{2}))?)?")
ZONED = re.compile(r"T\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?\d{2})\s*$")
SUM = re.compile(r"^-?\d{1,16}(\.\d{1,2}0*)?$")
RATES = {"0", "0.005", "0.01", "0.015", "0.03", "0.04", "0.05", "0.06", "0.09", "0.1", "0.11", "0.13", "0.16", "0.17"}
UNTAXED = {"免税", "不征税", "*", "***", ""}
TOLERANCE = Decimal("0.01")
UNPACKED = ("ofd", "pdf")  # what a parser takes apart that is not ours
PRINTED = ("pdf", "other")


def answer_of(path: str, name: str, *, unpack: bool = True) -> dict[str, Any] | tuple[str, str] | None:
    """Return one file's row, or the key of the reason why it is set aside and what was found; null: see `unpack`.

    Args:
        path: the file.
        name: how the row names it; its ending decides how it is read.
        unpack: read OFD and PDF too; they are left to a process of its own where this is false.
    """
    try:
        return _read(path, name, unpack=unpack)
    except BrokenFileError as error:
        return error.reason, error.detail
    except MemoryError:
        return "too_much_memory", ""
    except Exception as error:  # noqa: BLE001 (a parser raises whatever a hostile file makes of it)
        return "failed", described(error)


def _read(path: str, name: str, *, unpack: bool) -> dict[str, Any] | None:
    file = Path(path)
    try:
        stat = file.stat()
        if not S_ISREG(stat.st_mode):  # a pipe would be waited for without end
            raise BrokenFileError("not_regular")
        if stat.st_size > LARGEST_FILE:
            raise BrokenFileError("too_large", f"{stat.st_size:,}")
        data = file.read_bytes()
    except OSError as error:
        raise BrokenFileError("unreadable", error.strerror or str(error)) from error
    kind = _kind(data, name)
    if kind in UNPACKED and not unpack:
        return None
    fields = _fields(data, kind, name)
    row = row_of(fields, name)
    row["sha256"] = hashlib.sha256(data).hexdigest()
    row["size"] = stat.st_size
    row["mtime"] = datetime.fromtimestamp(int(stat.st_mtime), BEIJING).replace(tzinfo=None)
    return row


def _kind(data: bytes, name: str) -> str:
    """Return which reader a file needs, by its ending and its first bytes."""
    ending = Path(name).suffix.lower()
    if not data:
        raise BrokenFileError("empty")
    if ending in (".ofd", ".xml", ".xbrl"):
        if data[:4] == b"PK\x03\x04":
            return "ofd"
        if ending == ".ofd":
            raise BrokenFileError("no_archive")
        return "xml"
    return "pdf" if ending == ".pdf" else "other"


def _fields(data: bytes, kind: str, name: str) -> Fields:
    """Read the fields by the file's kind; where a PDF or another file gives none, its name may."""
    if kind == "xml":
        return read_xml(data)
    if kind == "ofd":
        from audit_kit.loaders.einvoices.ofd import read_ofd  # noqa: PLC0415 (only where there is one)

        return read_ofd(data)
    if kind == "other":
        return Fields(kind)
    from audit_kit.loaders.einvoices.pdf import read_pdf  # noqa: PLC0415 (an extra)

    try:
        return read_pdf(data)
    except BrokenFileError as error:
        if error.reason == "no_pdf_reader" and IN_NAME.search(name):
            return Fields("pdf")
        raise


def row_of(fields: Fields, name: str) -> dict[str, Any]:
    """Return the row of what a file says, judged by itself.

    Raises:
        BrokenFileError: without a number, or, but for a printed one, without a readable date or amount.
    """
    values = fields.values
    faults: list[str] = []
    hints: list[str] = []
    row: dict[str, Any] = {"path": name, "role": fields.role, **_number(values, fields.role, name, faults, hints)}
    printed = fields.role in PRINTED
    if "issued_at" not in values and fields.role == "xbrl":
        values = {**values, "issued_at": values.get("requested_at", "")}
    row["issued_at"], row["date_only"] = _moment(values.get("issued_at", ""), needed=not printed)
    row |= _money(values, needed=not printed, faults=faults, hints=hints)
    row |= _parties(values)
    row["positive"] = _is_positive(values, row["gross"])
    row["red_of"] = (values.get("red_of", "") + values.get("red_of_number", "")) or None
    for text in ("kind", "channel", "account", "remark", "voucher", "eiid", "booked", "posted_at", "usage"):
        row[text] = values.get(text)
    row["red_confirmation"] = values.get("red_confirmation")
    row["tax_rates"] = "、".join(sorted({line["rate"] for line in fields.lines if "rate" in line})) or None
    for time in ("requested_at", "signed_at"):
        row[time] = _moment(values.get(time, ""), needed=False)[0]
    _judge(row, fields, faults, hints)
    return row | {"file_faults": faults, "file_hints": hints}


def _number(values: dict[str, str], role: str, name: str, faults: list[str], hints: list[str]) -> dict[str, str | None]:
    """Return number and code, from the file, else from 20 digits in its name."""
    in_name = [match.group() for match in IN_NAME.finditer(Path(name).name)]
    number = re.sub(r"\s", "", unicodedata.normalize("NFKC", values.get("number", "")))
    if not number:
        if not in_name:
            raise BrokenFileError({"other": "other", "pdf": "no_text"}.get(role, "no_number"))
        number = in_name[0]
        hints.append("number_from_name")
    elif in_name and number not in in_name:
        faults.append("name_differs")
    if not number.isascii() or not number.isdigit():
        raise BrokenFileError("bad_number", number)
    if len(number) not in (8, 20):
        faults.append("number_malformed")
    if values.get("eiid") and values["eiid"] != number:
        faults.append("number_differs")
    digital = len(number) > 8  # noqa: PLR2004 (digits of an old number)
    return {
        "digital_number": number if digital else None,
        "invoice_number": None if digital else number,
        "invoice_code": values.get("invoice_code"),
    }


def _moment(text: str, *, needed: bool) -> tuple[datetime | None, bool | None]:
    """Return a time and whether it is a mere date; 2025-05-03 10:05:00, 2025年05月03日 and 20250503 are read."""
    if not (found := MOMENT.search(text)):
        if needed:
            raise BrokenFileError("bad_date" if text else "no_date", text)
        return None, None
    parts = [int(part) for part in found.groups() if part is not None]
    try:
        if ZONED.search(text):
            return datetime.fromisoformat(text.strip()).astimezone(BEIJING).replace(tzinfo=None), False
        return datetime(*parts), len(parts) == 3  # type: ignore[arg-type]  # noqa: DTZ001, PLR2004 (Beijing; a date)
    except ValueError as error:
        if needed:
            raise BrokenFileError("bad_date", text) from error
        return None, None


def _money(values: dict[str, str], *, needed: bool, faults: list[str], hints: list[str]) -> dict[str, Decimal | None]:
    """Return net, tax and gross; the tax of an untaxed invoice, `***`, is 0."""
    net, gross = (amount(values.get(name, "")) for name in ("net", "gross"))
    tax = amount(values.get("tax", ""), untaxed=True)
    if needed and net is None and gross is None:
        raise BrokenFileError("no_amount")
    if gross is None and net is not None:
        gross = net + (tax or 0)
        hints.append("gross_computed")
    if tax is None and needed:
        hints.append("tax_missing")
    if None not in (net, tax, gross) and abs(net + tax - gross) > TOLERANCE:  # type: ignore[operator]
        faults.append("sums_differ")
    return {"net": net, "tax": tax, "gross": gross}


def amount(text: str, *, untaxed: bool = False) -> Decimal | None:
    """Return yuan of a printed sum such as ¥1,234.50; a third decimal is refused, never rounded away.

    Raises:
        BrokenFileError: it is no sum.
    """
    plain = unicodedata.normalize("NFKC", text).strip()
    if untaxed and plain in UNTAXED - {""}:
        return Decimal("0.00")
    plain = re.sub(r"[¥￥,\s元]", "", plain)
    if not plain:
        return None
    if not SUM.match(plain):
        raise BrokenFileError("bad_amount", text)
    return Decimal(plain).quantize(TOLERANCE)


def _parties(values: dict[str, str]) -> dict[str, str | None]:
    """Return seller and buyer; an accounting XBRL names the seller and whose books it is from."""
    row = {name: values.get(name) for name in ("seller_tax_id", "seller_name", "buyer_tax_id", "buyer_name")}
    entity = values.get("entity_tax_id")
    if entity and entity != row["seller_tax_id"]:
        row["buyer_tax_id"] = row["buyer_tax_id"] or entity
        row["buyer_name"] = row["buyer_name"] or values.get("entity_name")
    return row


def _is_positive(values: dict[str, str], gross: Decimal | None) -> bool | None:
    """Tell blue from red, by the file's own mark, else by the sign of the total."""
    marks = {"sign": ("Y", "N"), "sign_code": ("0", "1"), "is_red": ("false", "true")}
    for name, (blue, red) in marks.items():
        if values.get(name) in (blue, red):
            return values[name] == blue
    return None if gross is None else gross >= 0


def _judge(row: dict[str, Any], fields: Fields, faults: list[str], hints: list[str]) -> None:
    """Judge what can be seen in one file alone."""
    number, issued = row["digital_number"], row["issued_at"]
    if number and issued and number[:2] != f"{issued:%y}":
        faults.append("year_differs")
    if row["requested_at"] and row["signed_at"] and row["signed_at"] < row["requested_at"]:
        faults.append("signed_before_requested")
    if _lines_differ(row, fields.lines):
        faults.append("lines_differ")
    rates = [line["rate"] for line in fields.lines if "rate" in line]
    if any(not _is_usual(rate) for rate in rates):
        hints.append("tax_rate_unusual")
    if fields.role == "xml":
        if "signature" not in fields.values:
            hints.append("unsigned")
        if not row["buyer_tax_id"]:
            hints.append("buyer_id_empty")


def _lines_differ(row: dict[str, Any], lines: list[dict[str, str]]) -> bool:
    """Tell whether the lines do not add up to the totals, a fen a line let pass; unknown sums are no difference."""
    try:
        sums = [(amount(line.get("amount", "")), amount(line.get("tax", ""), untaxed=True)) for line in lines]
    except BrokenFileError:
        return True
    slack = TOLERANCE * len(lines)
    for total, parts in ((row["net"], [net for net, _ in sums]), (row["tax"], [tax for _, tax in sums])):
        known = [part for part in parts if part is not None]
        if total is not None and parts and len(known) == len(parts) and abs(sum(known) - total) > slack:
            return True
    return False


def _is_usual(rate: str) -> bool:
    """Tell whether a tax rate is one that was ever in force, written 0.06, 0.060000, 6% or *."""
    if rate in UNTAXED:
        return True
    plain = rate.removesuffix("%")
    try:
        share = Decimal(plain) / (100 if rate.endswith("%") else 1)
    except ArithmeticError:
        return False
    return f"{share.normalize():f}" in RATES
