"""E-invoices in the other forms that are met: both kinds of OFD, PDF, accounting XBRL. The XML is the simulation's."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from audit_kit.training.world.einvoice_files import Paper

OFD = "http://www.ofdspec.org/2016"
OLD = "http://www.edrm.org.cn/schema/e-invoice/2019"
EINV = "http://xbrl.mof.gov.cn/taxonomy/2023-12-31/einv"
# One date for every member of an archive, so that the same invoice gives the same bytes.
ZIP_DATE = (2025, 1, 1, 0, 0, 0)


def ofd(paper: Paper) -> bytes:
    """Return an OFD of a 数电票: key fields as CustomData, the others as tags that point at the page's texts."""
    tax = "***" if paper.rate == "免税" else f"{paper.tax}"
    day = f"{paper.issued_at:%Y年%m月%d日}"
    known = {
        "发票号码": paper.number,
        "销售方纳税人识别号": paper.seller_tax_id,
        "合计金额": f"{paper.net}",
        "购买方纳税人识别号": paper.buyer_tax_id,
        "合计税额": tax,
        "开票日期": day,
    }
    known |= {name: text for name, text in paper.changes.items() if name in known}
    datas = "".join(f'<ofd:CustomData Name="{name}">{escape(text)}</ofd:CustomData>' for name, text in known.items())
    tagged = [
        ("InvoiceNo", [paper.number]),
        ("IssueDate", [day]),
        ("Buyer/BuyerName", [paper.buyer_name]),
        ("Buyer/BuyerTaxID", [paper.buyer_tax_id]),
        ("Seller/SellerName", [paper.seller_name]),
        ("Seller/SellerTaxID", [paper.seller_tax_id]),
        ("TaxExclusiveTotalAmount", ["¥", f"{paper.net}"]),
        ("TaxTotalAmount", [tax] if tax == "***" else ["¥", tax]),
        ("TaxInclusiveTotalAmount", ["¥", f"{paper.gross}"]),
        ("InvoiceClerk", [paper.drawer]),
        ("Note", [paper.remark or " "]),
    ]
    tags, objects = _tagged(tagged)
    title = "电子发票（增值税专用发票）" if paper.special else "电子发票（普通发票）"
    head = _text_object(90, "70 8 70 8", title)
    page = (
        f'<ofd:Page xmlns:ofd="{OFD}"><ofd:Area><ofd:PhysicalBox>0 0 210 140</ofd:PhysicalBox></ofd:Area>'
        f'<ofd:Content><ofd:Layer ID="2">{head}{objects}</ofd:Layer></ofd:Content></ofd:Page>'
    )
    listing = (
        f'<ofd:CustomTags xmlns:ofd="{OFD}"><ofd:CustomTag TypeID="0"><ofd:FileLoc>CustomTag.xml</ofd:FileLoc>'
        "</ofd:CustomTag></ofd:CustomTags>"
    )
    return _archive(
        {
            "OFD.xml": _root(f"<ofd:CustomDatas>{datas}</ofd:CustomDatas>"),
            "Doc_0/Document.xml": _document("<ofd:CustomTags>Tags/CustomTags.xml</ofd:CustomTags>"),
            "Doc_0/Tags/CustomTags.xml": listing,
            "Doc_0/Tags/CustomTag.xml": f'<ofd:root xmlns:ofd="{OFD}" version="1.0">{tags}</ofd:root>',
            "Doc_0/Pages/Page_0/Content.xml": page,
        }
    )


def _tagged(tagged: list[tuple[str, list[str]]]) -> tuple[str, str]:
    """Return the tags, each pointing at text objects of page 61, and those objects."""
    tags, objects, number = "", "", 100
    for name, parts in tagged:
        refs = ""
        for part in parts:
            number += 1
            refs += f'<ofd:ObjectRef PageRef="61">{number}</ofd:ObjectRef>'
            objects += _text_object(number, f"20 {number - 80} 80 4", part)
        group, _, leaf = name.rpartition("/")
        inner = f"<ofd:{leaf}>{refs}</ofd:{leaf}>"
        tags += f"<ofd:{group}>{inner}</ofd:{group}>" if group else inner
    return tags, objects


def _text_object(number: int, boundary: str, text: str) -> str:
    code = f'<ofd:TextCode X="0" Y="3.6">{escape(text)}</ofd:TextCode>'
    return f'<ofd:TextObject ID="{number}" Boundary="{boundary}" Size="3.175">{code}</ofd:TextObject>'


def old_ofd(paper: Paper) -> bytes:
    """Return an OFD of an old electronic invoice: its XML travels inside as an attachment."""
    values = [
        ("DocID", "01"),
        ("InvoiceCode", paper.code),
        ("InvoiceNo", paper.number),
        ("TypeCode", "1" if paper.gross < 0 else "0"),
        ("IssueDate", f"{paper.issued_at:%Y年%m月%d日}"),
    ]
    parties = (
        f"<fp:Buyer><fp:BuyerName>{escape(paper.buyer_name)}</fp:BuyerName>"
        f"<fp:BuyerTaxID>{paper.buyer_tax_id}</fp:BuyerTaxID></fp:Buyer>"
        f"<fp:Seller><fp:SellerName>{escape(paper.seller_name)}</fp:SellerName>"
        f"<fp:SellerTaxID>{paper.seller_tax_id}</fp:SellerTaxID></fp:Seller>"
    )
    sums = [
        ("TaxExclusiveTotalAmount", f"{paper.net}"),
        ("TaxTotalAmount", f"{paper.tax}"),
        ("TaxInclusiveTotalAmount", f"{paper.gross}"),
        ("Note", paper.remark),
        ("InvoiceClerk", paper.drawer),
    ]

    def fp(pairs: list[tuple[str, str]]) -> str:
        return "".join(f"<fp:{name}>{escape(paper.changes.get(name, text))}</fp:{name}>" for name, text in pairs)

    goods = fp([("Item", paper.item), ("Amount", f"{paper.net}"), ("TaxScheme", "6%"), ("TaxAmount", f"{paper.tax}")])
    inside = (
        f'<?xml version="1.0" encoding="utf-8"?><eInvoice xmlns:fp="{OLD}" Version="1.0">{fp(values)}{parties}'
        f"{fp(sums)}<fp:GoodsInfos><fp:GoodsInfo>{goods}</fp:GoodsInfo></fp:GoodsInfos></eInvoice>"
    )
    listing = (
        f'<ofd:Attachments xmlns:ofd="{OFD}"><ofd:Attachment ID="1" Name="original_invoice" Format="xml">'
        "<ofd:FileLoc>original_invoice.xml</ofd:FileLoc></ofd:Attachment></ofd:Attachments>"
    )
    page = (
        f'<ofd:Page xmlns:ofd="{OFD}"><ofd:Area><ofd:PhysicalBox>0 0 210 140</ofd:PhysicalBox></ofd:Area>'
        '<ofd:Content><ofd:Layer ID="2"/></ofd:Content></ofd:Page>'
    )
    return _archive(
        {
            "OFD.xml": _root(""),
            "Doc_0/Document.xml": _document("<ofd:Attachments>Attachs/Attachments.xml</ofd:Attachments>"),
            "Doc_0/Attachs/Attachments.xml": listing,
            "Doc_0/Attachs/original_invoice.xml": inside,
            "Doc_0/Pages/Page_0/Content.xml": page,
        }
    )


def _root(info: str) -> str:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><ofd:OFD xmlns:ofd="{OFD}" DocType="OFD" Version="1.0"><ofd:DocBody>'
        f"<ofd:DocInfo><ofd:DocID>90baf370c9dc11e980000b7700000a77</ofd:DocID>{info}</ofd:DocInfo>"
        "<ofd:DocRoot>Doc_0/Document.xml</ofd:DocRoot></ofd:DocBody></ofd:OFD>"
    )


def _document(more: str) -> str:
    return (
        f'<ofd:Document xmlns:ofd="{OFD}"><ofd:CommonData><ofd:MaxUnitID>999</ofd:MaxUnitID></ofd:CommonData>'
        f'<ofd:Pages><ofd:Page ID="61" BaseLoc="Pages/Page_0/Content.xml"/></ofd:Pages>{more}</ofd:Document>'
    )


def _archive(members: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), text.encode(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def xbrl(paper: Paper, *, entity: str, entity_name: str, vouchers: tuple[str, ...] = (), posted: str = "") -> bytes:
    """Return the accounting XBRL that tells how an invoice was booked, `posted` as YYYY-MM-DD."""
    facts = [
        ("InvoiceNumber", paper.number),
        ("SellerName", paper.seller_name),
        ("SellerIdNum", paper.seller_tax_id),
        ("TotalAmWithoutTax", f"{paper.net}"),
        ("RequestTime", f"{paper.requested_at or paper.issued_at:%Y-%m-%d %H:%M:%S}"),
        ("TotalTaxAm", f"{paper.tax}"),
        ("TotalTax-includedAmount", f"{paper.gross}"),
        ("WhetherEinvoiceIsRedEinvoice", "true" if paper.gross < 0 else "false"),
        ("WhetherEinvoiceHasBeenBooked", "true" if vouchers else "false"),
        ("UnifiedSocialCreditCodeOfAccountingEntity", entity),
        ("NameOfAccountingEntity", entity_name),
    ]

    def fact(name: str, text: str) -> str:
        return f'<einv:{name} contextRef="c1">{escape(paper.changes.get(name, text))}</einv:{name}>'

    booked = "".join(
        "<einv:InformationOfAccountingDocumentsTuple>"
        f"{fact('NumberOfAccountingDocuments', voucher)}{fact('PostingDate', posted)}"
        "</einv:InformationOfAccountingDocumentsTuple>"
        for voucher in vouchers
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><xbrli:xbrl xmlns:xbrli="http://www.xbrl.org/2003/instance"'
        f' xmlns:einv="{EINV}"><xbrli:context id="c1"><xbrli:entity>'
        f'<xbrli:identifier scheme="http://xbrl.mof.gov.cn">{escape(entity)}</xbrli:identifier></xbrli:entity>'
        f"</xbrli:context>{''.join(fact(*pair) for pair in facts)}{booked}</xbrli:xbrl>"
    ).encode()


def pdf(paper: Paper) -> bytes:
    """Return a PDF of one page whose text can be read out, as a 数电票 is printed."""
    tax = "***" if paper.rate == "免税" else f"¥{paper.tax}"
    return pdf_of(
        "电子发票（增值税专用发票）" if paper.special else "电子发票（普通发票）",
        f"发票号码：{paper.number}",
        f"开票日期：{paper.issued_at:%Y年%m月%d日}",
        f"名称：{paper.buyer_name} 名称：{paper.seller_name}",
        f"统一社会信用代码/纳税人识别号：{paper.buyer_tax_id} 统一社会信用代码/纳税人识别号：{paper.seller_tax_id}",
        f"合 计 ¥{paper.net} {tax}",
        f"价税合计（大写） 圆整 （小写） ¥{paper.gross}",
        f"开票人：{paper.drawer}",
    )


def pdf_of(*lines: str) -> bytes:
    """Return a PDF of one page with these lines of text."""
    letters = sorted({letter for line in lines for letter in line})
    glyphs = {letter: number for number, letter in enumerate(letters, 1)}
    shown = "".join(
        f"1 0 0 1 40 {380 - 20 * row} Tm <{''.join(f'{glyphs[letter]:04X}' for letter in line)}> Tj\n"
        for row, line in enumerate(lines)
    )
    pairs = "".join(f"<{glyph:04X}> <{letter.encode('utf-16-be').hex()}>\n" for letter, glyph in glyphs.items())
    blocks = [pairs.splitlines()[start : start + 100] for start in range(0, len(letters), 100)]
    unicode = "".join(f"{len(block)} beginbfchar\n" + "\n".join(block) + "\nendbfchar\n" for block in blocks)
    cmap = f"begincmap\n1 begincodespacerange <0000> <FFFF> endcodespacerange\n{unicode}endcmap"
    system = "<</Registry(Adobe)/Ordering(Identity)/Supplement 0>>"
    descendant = f"<</Type/Font/Subtype/CIDFontType2/BaseFont/Made/CIDSystemInfo{system}>>"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 396]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        _stream(f"BT /F1 10 Tf\n{shown}ET"),
        f"<</Type/Font/Subtype/Type0/BaseFont/Made/Encoding/Identity-H/DescendantFonts[{descendant}]/ToUnicode 6 0 R>>",
        _stream(cmap),
    ]
    body, places = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    trailer = f"trailer\n<</Size {size}/Root 1 0 R>>\nstartxref\n{len(body)}\n%%EOF\n"
    return body + f"xref\n0 {size}\n0000000000 65535 f \n{table}{trailer}".encode()


def _stream(content: str) -> str:
    return f"<</Length {len(content.encode())}>>\nstream\n{content}\nendstream"
