"""The fields inside an e-invoice's XML: the tax bureau's, the older one of an OFD, the accounting XBRL, Chinese tags.

Texts only, nothing judged: see `einvoices` for what becomes of them. No polars here, so that worker processes start
fast. XML is read without entities, without a network and within bounds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache, lru_cache

from lxml import etree

from audit_kit import resources

LARGEST_XML = 16 << 20
DECLARES = re.compile(rb"<!\s*(DOCTYPE|ENTITY)", re.IGNORECASE)
TITLE = re.compile(r"电子发票\s*[（(]\s*([^）)\s]{2,20})\s*[）)]")
PUNCTUATION = re.compile(r"[\s、，,:：（）()]")


class BrokenFileError(Exception):
    """A file that is set aside; `reason` is an entry of `[einvoice]` in resources/words/reasons.toml."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Take the name of an entry and what was found."""
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


def described(error: BaseException) -> str:
    """Return what a parser said, in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:200].removesuffix(":")


@dataclass
class Fields:
    """What one file says: `values` by our names, as text; `lines` with amount, tax and rate."""

    role: str
    values: dict[str, str] = field(default_factory=dict)
    lines: list[dict[str, str]] = field(default_factory=list)

    def add(self, name: str | None, text: str | None) -> None:
        """Keep the first text that is not empty."""
        if name and text and (text := text.strip()):
            self.values.setdefault(name, text)


def parse(data: bytes) -> etree._Element:
    """Return the root of an XML document.

    Raises:
        BrokenFileError: too large, too deep, with a document type or entities, or no XML.
    """
    if len(data) > LARGEST_XML:
        raise BrokenFileError("too_large", f"{len(data):,}")
    if DECLARES.search(data):
        raise BrokenFileError("declares")
    try:
        return etree.fromstring(data, _parser())
    except etree.XMLSyntaxError as error:
        if "depth" in str(error):
            raise BrokenFileError("too_deep") from error
        return _reread(data, str(error))


def _reread(data: bytes, message: str) -> etree._Element:
    """Read once more as GB18030, which old clients write under a UTF-8 heading."""
    try:
        text = re.sub(r"^\s*<\?xml[^>]*\?>", "", data.decode("gb18030"))
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.encoding == "gb18030":
            raise BrokenFileError("not_xml", message) from error
        try:
            return etree.fromstring(text.encode(), _parser())
        except etree.XMLSyntaxError:
            pass
    raise BrokenFileError("not_xml", message)


def _parser() -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True
    )


def read_xml(data: bytes) -> Fields:
    """Return the fields of an XML file: `role` is xml, or xbrl.

    Raises:
        BrokenFileError: it is no XML of an e-invoice.
    """
    return fields_of(parse(data))


def fields_of(root: etree._Element) -> Fields:
    """Return the fields of a parsed XML document."""
    name = local(root)
    if name == "xbrl":
        return _read_tree(root, "xbrl")
    if name not in ("einvoice", "发票"):
        inner = next((element for element in root.iter(etree.Element) if local(element) == "einvoice"), None)
        if inner is None:
            raise BrokenFileError("other_xml", etree.QName(root).localname)
        root = inner
    return _read_tree(root, "xml")


def _read_tree(root: etree._Element, role: str) -> Fields:
    fields = Fields(role)
    elements, lines = _names()
    vouchers: list[str] = []
    for element in root.iter(etree.Element):
        name = local(element)
        if name in lines:
            fields.lines.append(_line(element, lines[name]))
        ours = elements.get(name)
        if ours == "number" and _is_supervised(element):  # the bureau's own word outweighs any other element's
            fields.values.pop("number", None)
        if ours == "voucher" and element.text:
            vouchers.append(element.text.strip())
        elif ours is not None and len(element) == 0:
            fields.add(ours, element.text)
    fields.add("voucher", "、".join(dict.fromkeys(vouchers)))
    _read_labels(root, fields)
    return fields


def _is_supervised(element: etree._Element) -> bool:
    parent = element.getparent()
    return parent is not None and local(parent) == "taxsupervisioninfo"


def _line(element: etree._Element, names: dict[str, str]) -> dict[str, str]:
    pairs = ((names.get(local(part)), (part.text or "").strip()) for part in element)
    return {name: text for name, text in pairs if name and text}


def _read_labels(root: etree._Element, fields: Fields) -> None:
    """Read the labels of a 数电票: blue or red, special or general, and how it was issued."""
    for element in root.iter(etree.Element):
        name = local(element)
        if name == "inissutype":
            fields.add("sign", _child(element, "labelcode"))
        elif name == "generalorspecialvat":
            fields.add("kind", resources.load("einvoices")["kinds"].get(_child(element, "labelcode")))
        elif name == "label" and "开具方式" in _child(element, "labeltype"):
            fields.add("channel", channel(_child(element, "labelname")))


def channel(label: str) -> str:
    """Return the channel in our words, or the label as it stands."""
    words = resources.load("einvoices")["channels"]
    return next((ours for part, ours in words.items() if part in label), label)


def _child(element: etree._Element, name: str) -> str:
    return next(((part.text or "").strip() for part in element if local(part) == name), "")


def local(element: etree._Element) -> str:
    """Return an element's name without namespace, in small letters."""
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else ""


@lru_cache(maxsize=1 << 10)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2].lower()


def word(name: str) -> str | None:
    """Return our name of a Chinese one such as 购买方纳税人识别号, or null."""
    return _words().get(PUNCTUATION.sub("", name))


@cache
def _names() -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    known = resources.load("einvoices")
    return known["elements"] | known["words"], known["lines"]


@cache
def _words() -> dict[str, str]:
    words: dict[str, str] = resources.load("einvoices")["words"]
    return words


def element(name: str) -> str | None:
    """Return our name of an element, given without namespace and in small letters, or null."""
    return _names()[0].get(name)


def printed_kind(text: str) -> str | None:
    """Return the kind of invoice that a title such as 电子发票（普通发票） tells, in the platform's words, or null."""
    found = TITLE.search(text)
    return f"数电发票（{found.group(1)}）" if found else None
