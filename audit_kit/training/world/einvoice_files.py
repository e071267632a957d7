"""Electronic invoices as files: the tax bureau's XML.

They have the structure of real ones and the marks of made ones: no signature of theirs verifies.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from decimal import Decimal

CHANNELS = {"网页": ("1", "网页开票"), "移动端": ("2", "移动端开票"), "乐企": ("5", "自建平台开票(乐企自用开票)")}


@dataclass(frozen=True, kw_only=True)
class Paper:
    """What an e-invoice says; money in yuan, `rate` as it is printed (0.06, *, 免税)."""

    number: str
    issued_at: datetime
    seller_tax_id: str
    seller_name: str
    buyer_tax_id: str
    buyer_name: str
    net: Decimal
    tax: Decimal
    gross: Decimal
    rate: str = "0.06"
    item: str = "*信息技术服务*技术服务费"
    special: bool = False
    channel: str = "网页"
    drawer: str = "示例"
    remark: str = ""
    requested_at: datetime | None = None
    signed_at: datetime | None = None
    red_of: str = ""
    code: str = ""
    lines: tuple[tuple[str, str], ...] = ()
    changes: Mapping[str, str] = field(default_factory=dict)
    """Element name → text that replaces what would stand there, for files that are wrong on purpose."""


def _tags(pairs: Iterable[tuple[str, str]], changes: Mapping[str, str]) -> str:
    return "".join(f"<{name}>{escape(changes.get(name, text))}</{name}>" for name, text in pairs)


def xml(paper: Paper) -> bytes:
    """Return the tax bureau's XML of a 数电票."""
    code, label = CHANNELS.get(paper.channel, ("9", paper.channel))
    times = paper.changes
    head = _tags([("EIid", paper.number), ("EInvoiceTag", f"SWEI{paper.number[2:4]}00"), ("Version", "0.36")], times)
    kind = "<LabelCode>01</LabelCode>" if paper.special else "<LabelCode>02</LabelCode>"
    basic = [
        ("TotalAmWithoutTax", f"{paper.net}"),
        ("TotalTaxAm", f"{paper.tax}"),
        ("TotalTax-includedAmount", f"{paper.gross}"),
        ("Drawer", paper.drawer),
    ]
    if paper.requested_at:
        basic.append(("RequestTime", f"{paper.requested_at:%Y-%m-%d %H:%M:%S}"))
    red = [("OriginalInvoiceCode", paper.red_of), ("CreditNoteNumber", "0" * 20)] if paper.red_of else []
    specific = (
        f"<SpecificInformation><RedEInvoice>{_tags(red, times)}</RedEInvoice></SpecificInformation>" if red else ""
    )
    return (
        '<?xml version="1.0" encoding="utf-8" standalone="yes"?>\n<EInvoice><Header>'
        f"{head}<InherentLabel><InIssuType><LabelCode>{'N' if paper.red_of else 'Y'}</LabelCode></InIssuType>"
        f"<GeneralOrSpecialVAT>{kind}</GeneralOrSpecialVAT></InherentLabel><UndefinedLabel><Label>"
        f"<LabelType>发票开具方式标签</LabelType><LabelCode>{code}</LabelCode><LabelName>{escape(label)}</LabelName></Label>"
        f"</UndefinedLabel></Header><EInvoiceData><SellerInformation>"
        f"{_tags([('SellerIdNum', paper.seller_tax_id), ('SellerName', paper.seller_name)], times)}</SellerInformation>"
        f"<BuyerInformation>{_tags([('BuyerIdNum', paper.buyer_tax_id), ('BuyerName', paper.buyer_name)], times)}"
        f"</BuyerInformation><BasicInformation>{_tags(basic, times)}</BasicInformation>{_items(paper)}{specific}"
        f"<AdditionalInformation>{_tags([('Remark', paper.remark)], times)}</AdditionalInformation></EInvoiceData>"
        f"<TaxSupervisionInfo>{_supervision(paper)}</TaxSupervisionInfo>{_signature(paper)}</EInvoice>\n"
    ).encode()


def _items(paper: Paper) -> str:
    lines = paper.lines or ((f"{paper.net}", "*" if paper.rate in ("*", "免税") else f"{paper.tax}"),)
    return "".join(
        "<IssuItemInformation>"
        + _tags([("ItemName", paper.item), ("Amount", net), ("TaxRate", paper.rate), ("ComTaxAm", tax)], paper.changes)
        + "</IssuItemInformation>"
        for net, tax in lines
    )


def _supervision(paper: Paper) -> str:
    issued = f"{paper.issued_at:%Y-%m-%d %H:%M:%S}" if paper.issued_at.time().isoformat() != "00:00:00" else ""
    pairs = [("InvoiceNumber", paper.number), ("IssueTime", issued or f"{paper.issued_at:%Y-%m-%d}")]
    return _tags([*pairs, ("TaxBureauCode", f"1{paper.number[2:4]}00000000")], paper.changes)


def _signature(paper: Paper) -> str:
    if paper.signed_at is None:
        return "<ptbh>174ba8fa83cf8ccb51c0</ptbh>"
    pairs = [("SignatureTime", f"{paper.signed_at:%Y-%m-%d %H:%M:%S}"), ("SignatureValue", "3082017906")]
    return f"<TaxBureauSignature>{_tags(pairs, paper.changes)}</TaxBureauSignature>"
