"""The fields inside an OFD: an attached XML, `CustomData`, and tags that point at texts on the pages.

The archive is read directly, by what its members are called; ofdkit, slower but patient with damaged XML and odd
paths, is asked for what is then still missing. Members are read within bounds, whatever the archive claims of them.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from typing import TYPE_CHECKING

import ofdkit

from audit_kit.loaders.einvoices import xml
from audit_kit.loaders.einvoices.xml import BrokenFileError, Fields, described, local
from audit_kit.loaders.formats import archives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lxml import etree

LARGEST_INSIDE = 64 << 20
MOST_MEMBERS = 5_000
NEEDED = ("number", "issued_at", "net", "tax", "gross", "seller_name", "buyer_name")


def read_ofd(data: bytes) -> Fields:
    """Return the fields of an OFD file.

    Raises:
        BrokenFileError: no archive, larger unpacked than an e-invoice can be, encrypted, or without invoice fields.
    """
    members = _members(data)
    fields = Fields("ofd")
    for root in _parsed(members, _is_attachment):
        if local(root) in ("einvoice", "发票", "xbrl"):
            found = xml.fields_of(root)
            fields.lines = fields.lines or found.lines
            _fill(fields, found.values)
    for root in _parsed(members, lambda name: name.endswith("ofd.xml")):
        for data_ in (part for part in root.iter() if local(part) == "customdata"):
            fields.add(xml.word(data_.get("Name", "")), data_.text)
    if any(name not in fields.values for name in NEEDED):
        _fill(fields, _tagged(members))
    failure = _ask_ofdkit(data, fields) if any(name not in fields.values for name in NEEDED) else None
    if not fields.values.keys() & {"number", "net", "gross"}:
        raise BrokenFileError("failed", failure) if failure else BrokenFileError("no_fields")
    return fields


def _fill(fields: Fields, values: dict[str, str]) -> None:
    for name, text in values.items():
        fields.add(name, text)


def _members(data: bytes) -> dict[str, bytes]:
    """Return the XML members of the archive by their names in small letters."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            if len(infos) > MOST_MEMBERS or sum(info.file_size for info in infos) > LARGEST_INSIDE:
                raise BrokenFileError("too_large_inside", f"{sum(info.file_size for info in infos):,}")
            wanted = [info for info in infos if info.filename.lower().endswith(".xml")]
            return dict(_unpacked(archive, wanted))
    except RuntimeError as error:  # zipfile's word for a password
        raise BrokenFileError("encrypted") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, OSError, ValueError) as error:
        raise BrokenFileError("not_zip", str(error)) from error


def _unpacked(archive: zipfile.ZipFile, wanted: list[zipfile.ZipInfo]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, measured while they are unpacked: what an archive claims of itself is no measure."""
    left = LARGEST_INSIDE
    for info in wanted:
        data = archives.read_within(archive, info, left)
        if data is None:
            raise BrokenFileError("too_large_inside", f"{info.filename[:50]} > {left:,}")
        left -= len(data)
        yield info.filename.replace("\\", "/").lower(), data


def _parsed(members: dict[str, bytes], is_wanted: object) -> Iterator[etree._Element]:
    """Yield the roots of the members that are wanted and can be read."""
    for name, data in sorted(members.items()):
        if callable(is_wanted) and is_wanted(name):
            try:
                yield xml.parse(data)
            except BrokenFileError as error:
                if error.reason in ("declares", "too_large", "too_deep"):
                    raise


def _is_attachment(name: str) -> bool:
    return "attach" in name and not name.endswith("attachments.xml")


def _tagged(members: dict[str, bytes]) -> dict[str, str]:
    """Return the fields that tags give: each names text objects of a page, whose texts are put together."""
    texts: dict[str, str] = {}
    for root in _parsed(members, lambda name: "/pages/" in name or "/tpls/" in name):
        for element in root.iter():
            if local(element) == "textobject":
                codes = [part.text or "" for part in element.iter() if local(part) == "textcode"]
                texts.setdefault(element.get("ID", ""), "".join(codes))
    kind = next((kind for kind in map(xml.printed_kind, texts.values()) if kind), None)
    values = {"kind": kind} if kind else {}
    for root in _parsed(members, lambda name: "/tags/" in name and not name.endswith("customtags.xml")):
        for element in root.iter():
            refs = [(part.text or "").strip() for part in element if local(part) == "objectref"]
            ours = xml.element(local(element))
            if refs and ours:
                values.setdefault(ours, "".join(texts.get(ref, "") for ref in refs).strip())
    return values


def _ask_ofdkit(data: bytes, fields: Fields) -> str | None:
    """Fill in what ofdkit finds, which may be nothing; return how it failed, where it was by no error of its own."""
    try:
        invoice = ofdkit.extract_invoice(data)
    except (ofdkit.OFDError, ValueError, KeyError, RecursionError):
        return None
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 (what was read without it may be enough)
        return described(error)
    if invoice is None:
        return None
    pairs = {
        "number": invoice.invoice_number,
        "invoice_code": invoice.invoice_code,
        "issued_at": invoice.issue_date,
        "net": invoice.amount_without_tax,
        "tax": invoice.tax_amount,
        "gross": invoice.total_amount,
        "seller_tax_id": invoice.seller.tax_id,
        "seller_name": invoice.seller.name,
        "buyer_tax_id": invoice.buyer.tax_id,
        "buyer_name": invoice.buyer.name,
        "account": invoice.issuer,
        "remark": invoice.note,
    }
    _fill(fields, {name: text for name, text in pairs.items() if text})
    return None
