"""The fields that can be read in the text of a PDF, and in an XML that travels inside it.

Needs the extra `pdf`; a picture has no text, and then only the file's name may tell the number.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from typing import TYPE_CHECKING, Any

from audit_kit.loaders.einvoices import xml
from audit_kit.loaders.einvoices.xml import BrokenFileError, Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

LARGEST_TEXT = 200_000
NUMBER = re.compile(r"发票号码\s*[:：]?\s*(\d{20}|\d{8})(?!\d)")
ANY_NUMBER = re.compile(r"(?<!\d)(\d{20})(?!\d)")
CODE = re.compile(r"发票代码\s*[:：]?\s*(\d{12}|\d{10})(?!\d)")
DATE = re.compile(r"(20\d{2})\s*年\s*(\d{1,2})\s*月\s*(\d{1,2})\s*日")
MONEY = re.compile(r"[¥￥]\s*(-?[\d,]+\.\d{2})(?!\d)")
TAX_ID = re.compile(r"识别号\s*[:：]\s*([0-9A-Z]{15,20})(?![0-9A-Z])")
USCC = re.compile(r"(?<![0-9A-Z])[0-9A-HJ-NP-RTUW-Y]{2}\d{6}[0-9A-HJ-NP-RTUW-Y]{10}(?![0-9A-Z])")
DRAWER = re.compile(r"开票人\s*[:：]\s*(\S{1,20})")


def read_pdf(data: bytes) -> Fields:
    """Return the fields that the first page's text gives; none where it has no text.

    Raises:
        BrokenFileError: no PDF, encrypted, or the extra `pdf` is not installed.
    """
    try:
        import pypdf  # noqa: PLC0415 (an extra)
    except ImportError as error:
        raise BrokenFileError("no_pdf_reader") from error
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            reader = pypdf.PdfReader(io.BytesIO(data))
            locked = reader.is_encrypted and not reader.decrypt("")
            inside = None if locked else _attached(reader)
            text = "" if inside or locked else reader.pages[0].extract_text()[:LARGEST_TEXT]
        except Exception as error:  # pypdf raises whatever a damaged file makes of it
            raise BrokenFileError("not_pdf", str(error) or type(error).__name__) from error
    if locked:
        raise BrokenFileError("encrypted")
    return inside or read_text(text)


def _attached(reader: Any) -> Fields | None:  # noqa: ANN401 (pypdf is an extra)
    """Return the fields of the first attached XML that is an e-invoice."""
    for name, parts in reader.attachments.items():
        for part in parts if name.lower().endswith((".xml", ".xbrl")) else ():
            try:
                fields = xml.read_xml(part)
            except BrokenFileError:
                continue
            fields.role = "pdf"
            return fields
    return None


def read_text(text: str) -> Fields:
    """Return the fields of a printed text: the buyer stands before the seller, the largest sum is the total."""
    fields = Fields("pdf")
    number = NUMBER.search(text) or ANY_NUMBER.search(text)
    fields.add("number", number and number.group(1))
    for name, pattern in (("invoice_code", CODE), ("account", DRAWER)):
        fields.add(name, (found := pattern.search(text)) and found.group(1))
    if date := DATE.search(text):
        fields.add("issued_at", "-".join(date.groups()))
    ids = list(dict.fromkeys(TAX_ID.findall(text) or USCC.findall(text)))
    fields.add("seller_tax_id", ids[-1] if len(ids) in (1, 2) else None)  # a person buys without one
    fields.add("buyer_tax_id", ids[0] if len(ids) == 2 else None)  # noqa: PLR2004 (both parties)
    fields.add("kind", xml.printed_kind(text))
    for name, amount in zip(("net", "tax", "gross"), _sums(MONEY.findall(text)), strict=False):
        fields.add(name, f"{amount / 100:.2f}" if amount is not None else None)
    return fields


def _sums(printed: Iterable[str]) -> tuple[int | None, int | None, int | None]:
    """Return net, tax and total in fen, of the sums printed: two that make up a third, else the largest alone."""
    amounts = [int(re.sub(r"[,.]", "", text)) for text in printed]
    for total in sorted(set(amounts), key=abs, reverse=True):
        for net in sorted(set(amounts), key=abs, reverse=True):
            if net != total and total - net in amounts:
                return net, total - net, total
    if amounts and len(set(amounts)) == 1:  # tax-free: the net amount is the total
        return amounts[0], 0, amounts[0]
    return None, None, None
