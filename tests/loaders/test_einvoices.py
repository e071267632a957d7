"""Electronic invoices: what is read out of them, what is set aside, and that nothing is lost or believed blindly."""

from __future__ import annotations

import builtins
import hashlib
import io
import json
import os
import zipfile
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import polars as pl
import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paper_files import ofd, old_ofd, pdf, pdf_of, xbrl

from audit_kit.core import schema
from audit_kit.core.errors import SourceError
from audit_kit.loaders.einvoices import folder as einvoices
from audit_kit.loaders.einvoices import row as einvoice_row
from audit_kit.loaders.einvoices import worker, workers
from audit_kit.loaders.einvoices.xml import BrokenFileError
from audit_kit.loaders.reading import Reason
from audit_kit.training.world.einvoice_files import Paper, xml

if TYPE_CHECKING:
    from pathlib import Path

SELLER, BUYER = "91110108MA01ABCD2X", "91110105MA00XYQW3Q"


def paper(**changed) -> Paper:
    said = {
        "number": "25112000000012345678",
        "issued_at": datetime(2025, 5, 3, 10, 5, 30),
        "seller_tax_id": SELLER,
        "seller_name": "北京甲科技有限公司",
        "buyer_tax_id": BUYER,
        "buyer_name": "北京乙商贸有限公司",
        "net": Decimal("235.85"),
        "tax": Decimal("14.15"),
        "gross": Decimal("250.00"),
        "requested_at": datetime(2025, 5, 3, 9, 37, 30),
        "signed_at": datetime(2025, 5, 3, 10, 5, 30),
    }
    return Paper(**(said | changed))


def read(folder: Path, **files: bytes) -> einvoices.Reading:
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_bytes(content)
    return einvoices.read_folder(folder)


def only(reading: einvoices.Reading) -> dict:
    assert reading.set_aside.is_empty(), reading.set_aside["reason"].to_list()
    return reading.rows.row(0, named=True)


def reasons(reading: einvoices.Reading) -> dict[str, str]:
    return dict(reading.set_aside.select("source_file", "reason").iter_rows())


def said(reason: str, detail: str) -> str:
    return Reason(code=f"einvoice.{reason}", fields={"detail": detail}).said()


def test_the_bureaus_xml_gives_every_field(tmp_path):
    row = only(read(tmp_path, a__xml=xml(paper(remark="账期:202504", special=True))))
    assert {
        name: row[name] for name in ("digital_number", "invoice_number", "invoice_code", "issued_at", "date_only")
    } == {
        "digital_number": "25112000000012345678",
        "invoice_number": None,
        "invoice_code": None,
        "issued_at": datetime(2025, 5, 3, 10, 5, 30),
        "date_only": False,
    }
    assert (row["seller_tax_id"], row["buyer_tax_id"]) == (SELLER, BUYER)
    assert (row["seller_name"], row["buyer_name"]) == ("北京甲科技有限公司", "北京乙商贸有限公司")
    assert (row["net"], row["tax"], row["gross"]) == (Decimal("235.85"), Decimal("14.15"), Decimal("250.00"))
    assert (row["kind"], row["channel"], row["positive"]) == ("数电发票（增值税专用发票）", "网页", True)
    assert row["signed_at"] - row["requested_at"] == datetime(2025, 1, 1, 0, 28) - datetime(2025, 1, 1)
    assert (row["role"], row["remark"], row["eiid"]) == ("xml", "账期:202504", "25112000000012345678")
    assert (row["file_faults"], row["file_hints"]) == ([], [])


def test_canonical_columns_come_first_and_every_file_is_hashed(tmp_path):
    reading = read(tmp_path, a__xml=xml(paper()))
    assert reading.rows.columns[: len(schema.dtypes("invoice_files"))] == list(schema.dtypes("invoice_files"))
    assert {name: reading.rows.schema[name] for name in schema.dtypes("invoice_files")} == schema.dtypes(
        "invoice_files"
    )
    data = (tmp_path / "a.xml").read_bytes()
    assert only(reading)["sha256"] == hashlib.sha256(data).hexdigest()
    assert only(reading)["size"] == len(data)


def test_an_issue_time_without_a_time_of_day_says_so(tmp_path):
    row = only(read(tmp_path, a__xml=xml(paper(issued_at=datetime(2025, 5, 3)))))
    assert (row["issued_at"], row["date_only"]) == (datetime(2025, 5, 3), True)


@pytest.mark.parametrize(
    ("written", "issued", "date_only"),
    [
        ("2025-05-03 10:05:30", datetime(2025, 5, 3, 10, 5, 30), False),
        ("2025-05-03T10:05:30", datetime(2025, 5, 3, 10, 5, 30), False),
        ("2025-05-03T02:05:30Z", datetime(2025, 5, 3, 10, 5, 30), False),
        ("2025-05-03T10:05:30+08:00", datetime(2025, 5, 3, 10, 5, 30), False),
        ("2025/5/3 9:05", datetime(2025, 5, 3, 9, 5), False),
        ("2025年05月03日", datetime(2025, 5, 3), True),
        ("20250503", datetime(2025, 5, 3), True),
    ],
)
def test_times_are_read_as_they_are_written(tmp_path, written, issued, date_only):
    row = only(read(tmp_path, a__xml=xml(paper(changes={"IssueTime": written}))))
    assert (row["issued_at"], row["date_only"]) == (issued, date_only)


def test_the_direct_link_leaves_no_signature_and_a_person_no_tax_id(tmp_path):
    row = only(
        read(
            tmp_path,
            a__xml=xml(paper(channel="乐企", signed_at=None, buyer_tax_id="", buyer_name="高某（个人）", rate="*")),
        )
    )
    assert (row["channel"], row["buyer_tax_id"]) == ("乐企", None)
    assert row["file_hints"] == ["unsigned", "buyer_id_empty"]


def test_a_red_invoice_names_its_blue_one(tmp_path):
    red = paper(net=Decimal("-235.85"), tax=Decimal("-14.15"), gross=Decimal(-250), red_of="25112000000011111111")
    row = only(read(tmp_path, a__xml=xml(red)))
    assert (row["positive"], row["red_of"], row["gross"]) == (False, "25112000000011111111", Decimal("-250.00"))


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"changes": {"EIid": "25112000000099999999"}}, "number_differs"),
        ({"gross": Decimal("260.00")}, "sums_differ"),
        ({"number": "24112000000012345678"}, "year_differs"),
        ({"signed_at": datetime(2025, 5, 3, 9, 0)}, "signed_before_requested"),
        ({"lines": (("100.00", "6.00"), ("100.00", "6.00"))}, "lines_differ"),
        ({"number": "2511200000001234567"}, "number_malformed"),
    ],
)
def test_what_no_true_invoice_shows_is_a_fault(tmp_path, changed, fault):
    assert fault in only(read(tmp_path, a__xml=xml(paper(**changed))))["file_faults"]


def test_a_file_named_after_another_invoice_is_a_fault(tmp_path):
    row = only(read(tmp_path, 甲_25112000000099999999_250__xml=xml(paper())))
    assert row["file_faults"] == ["name_differs"]
    assert row["digital_number"] == "25112000000012345678"


@pytest.mark.parametrize("rate", ["0.06", "0.060000", "6%", "*", "免税", "不征税", "0"])
def test_usual_rates_are_no_hint(tmp_path, rate):
    assert only(read(tmp_path, a__xml=xml(paper(rate=rate))))["file_hints"] == []


@pytest.mark.parametrize("rate", ["0.07", "六", "1e9"])
def test_unusual_rates_are_a_hint(tmp_path, rate):
    assert only(read(tmp_path, a__xml=xml(paper(rate=rate))))["file_hints"] == ["tax_rate_unusual"]


def test_xml_in_gb18030_under_a_utf8_heading_is_read(tmp_path):
    row = only(read(tmp_path, a__xml=xml(paper()).decode().encode("gb18030")))
    assert row["seller_name"] == "北京甲科技有限公司"


def test_xml_with_a_namespace_or_a_wrapping_element_is_read(tmp_path):
    text = xml(paper()).decode().partition("?>")[2]
    spaced = text.replace("<EInvoice>", '<EInvoice xmlns="http://example.invalid/einvoice">')
    reading = read(tmp_path, a__xml=spaced.encode(), b__xml=f"<Envelope>{text}</Envelope>".encode())
    assert reading.rows["digital_number"].to_list() == ["25112000000012345678"] * 2


def test_the_chinese_dialect_is_read(tmp_path):
    text = (
        "<发票><发票号码>25112000000012345678</发票号码><开票日期>2025-05-03</开票日期>"
        "<购买方纳税人识别号>91110105MA00XYQW3Q</购买方纳税人识别号><合计金额>-2500.00</合计金额>"
        "<合计税额>-150.00</合计税额><价税合计>-2650.00</价税合计>"
        "<被红冲蓝字发票号码>24112000000000100003</被红冲蓝字发票号码></发票>"
    )
    row = only(read(tmp_path, a__xml=text.encode()))
    assert (row["gross"], row["red_of"], row["positive"]) == (Decimal("-2650.00"), "24112000000000100003", False)


def test_the_new_ofd_gives_fields_from_custom_data_and_names_from_tags(tmp_path):
    row = only(read(tmp_path, a__ofd=ofd(paper())))
    assert (row["digital_number"], row["issued_at"], row["date_only"]) == (
        "25112000000012345678",
        datetime(2025, 5, 3),
        True,
    )
    assert (row["seller_name"], row["buyer_name"]) == ("北京甲科技有限公司", "北京乙商贸有限公司")
    assert (row["net"], row["tax"], row["gross"]) == (Decimal("235.85"), Decimal("14.15"), Decimal("250.00"))
    assert (row["kind"], row["role"], row["file_faults"]) == ("数电发票（普通发票）", "ofd", [])


def test_custom_data_outweighs_the_tags(tmp_path):
    wrong_text = repacked(
        ofd(paper()), edit=lambda name, data: data.replace(b">235.85<", b">999.99<") if "Pages" in name else data
    )
    row = only(read(tmp_path, a__ofd=wrong_text))
    assert row["net"] == Decimal("235.85")


def test_stars_for_the_tax_of_an_untaxed_invoice_are_zero(tmp_path):
    row = only(read(tmp_path, a__ofd=ofd(paper(rate="免税", tax=Decimal(0), net=Decimal(250)))))
    assert (row["tax"], row["gross"], row["file_faults"]) == (Decimal("0.00"), Decimal("250.00"), [])


def test_an_ofd_without_tags_adds_net_and_tax(tmp_path):
    bare = repacked(ofd(paper()), keep=lambda name: "Tags" not in name)
    row = only(read(tmp_path, a__ofd=bare))
    assert (row["gross"], row["file_hints"], row["seller_name"]) == (Decimal("250.00"), ["gross_computed"], None)


def test_the_old_ofd_gives_the_fields_of_its_attachment(tmp_path):
    old = paper(number="21010038", code="011001900311", issued_at=datetime(2020, 7, 23), requested_at=None)
    row = only(read(tmp_path, a__ofd=old_ofd(old)))
    assert (row["invoice_code"], row["invoice_number"], row["digital_number"]) == ("011001900311", "21010038", None)
    assert (row["issued_at"], row["gross"], row["positive"]) == (datetime(2020, 7, 23), Decimal("250.00"), True)
    assert row["seller_name"] == "北京甲科技有限公司"


def test_ofdkit_is_asked_where_the_members_are_named_oddly(tmp_path):
    odd = repacked(ofd(paper()), rename=lambda name: name.replace("Tags/CustomTag.xml", "Tags/Other.xml"))
    odd = repacked(odd, edit=lambda _, data: data.replace(b">CustomTag.xml<", b">Other.xml<"))
    assert only(read(tmp_path, a__ofd=odd))["buyer_name"] == "北京乙商贸有限公司"


def test_the_accounting_xbrl_tells_how_the_invoice_was_booked(tmp_path):
    booked = xbrl(
        paper(), entity=BUYER, entity_name="北京乙商贸有限公司", vouchers=("记-9", "记-12"), posted="2025-05-31"
    )
    row = only(read(tmp_path, a__xml=booked))
    assert (row["role"], row["voucher"], row["booked"], row["posted_at"]) == (
        "xbrl",
        "记-9、记-12",
        "true",
        "2025-05-31",
    )
    assert (row["buyer_tax_id"], row["seller_tax_id"], row["gross"]) == (BUYER, SELLER, Decimal("250.00"))
    assert row["issued_at"] == row["requested_at"] == datetime(2025, 5, 3, 9, 37, 30)


def test_the_text_of_a_pdf_is_read(tmp_path):
    row = only(read(tmp_path, a__pdf=pdf(paper())))
    assert (row["digital_number"], row["issued_at"]) == ("25112000000012345678", datetime(2025, 5, 3))
    assert (row["net"], row["tax"], row["gross"]) == (Decimal("235.85"), Decimal("14.15"), Decimal("250.00"))
    assert (row["seller_tax_id"], row["buyer_tax_id"]) == (SELLER, BUYER)


def test_a_pdf_whose_values_stand_apart_from_their_labels_is_read(tmp_path):
    apart = pdf_of(
        "发票号码：",
        "开票日期：",
        "25112000000012345678",
        "2025年05月03日",
        BUYER,
        SELLER,
        "¥235.85",
        "¥14.15",
        "¥250.00",
    )
    row = only(read(tmp_path, a__pdf=apart))
    assert (row["digital_number"], row["buyer_tax_id"], row["seller_tax_id"]) == ("25112000000012345678", BUYER, SELLER)
    assert (row["net"], row["gross"]) == (Decimal("235.85"), Decimal("250.00"))


def test_sums_that_do_not_tell_which_is_which_are_left_out(tmp_path):
    row = only(read(tmp_path, a__pdf=pdf_of("发票号码：25112000000012345678", "¥1.00", "¥9.00", "¥77.00")))
    assert (row["net"], row["tax"], row["gross"]) == (None, None, None)


def test_a_picture_goes_by_its_name(tmp_path):
    reading = read(tmp_path, **{"25112000000012345678__jpg": b"\xff\xd8", "x25112000000012345679__pdf": pdf_of("照片")})
    assert reading.rows["digital_number"].to_list() == ["25112000000012345678", "25112000000012345679"]
    assert reading.rows["role"].to_list() == ["other", "pdf"]
    assert reading.rows["file_hints"].to_list() == [["number_from_name"]] * 2


def test_without_the_extra_a_pdf_says_what_to_install(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_pypdf(name, *args, **kwargs):
        if name == "pypdf":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pypdf)
    (tmp_path / "a.pdf").write_bytes(pdf(paper()))
    aside, row = (einvoice_row.answer_of(str(tmp_path / "a.pdf"), f"{name}.pdf") for name in ("a", "2" * 20))
    assert "pip install 'audit-kit[pdf]'" in said(*aside)
    assert row["digital_number"] == "2" * 20


def test_an_xml_inside_a_pdf_is_read(tmp_path):
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf(paper())))
    writer.add_attachment("einvoice.xml", xml(paper(gross=Decimal("250.00"))))
    buffer = io.BytesIO()
    writer.write(buffer)
    row = only(read(tmp_path, a__pdf=buffer.getvalue()))
    assert (row["role"], row["seller_name"], row["date_only"]) == ("pdf", "北京甲科技有限公司", False)


BILLION_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    b"<EInvoice>&b;</EInvoice>"
)
EXTERNAL = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><EInvoice><Remark>&e;</Remark></EInvoice>'


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.xml", b"", "0 bytes"),
        ("a.xml", xml(paper())[:700], "XML"),
        ("a.xml", b"\x00\x01\x02", "XML"),
        ("a.xml", b"<html><body>404</body></html>", "<html>"),
        ("a.xml", BILLION_LAUGHS, "DOCTYPE"),
        ("a.xml", EXTERNAL, "DOCTYPE"),
        ("a.xml", b"<a>" * 100_000, "nested"),
        ("a.xml", xml(paper(changes={"InvoiceNumber": ""})), "发票号码"),
        ("a.xml", xml(paper(changes={"InvoiceNumber": "ABC"})), "ABC"),
        ("a.xml", xml(paper(changes={"IssueTime": ""})), "开票日期"),
        ("a.xml", xml(paper(changes={"IssueTime": "2025-13-45"})), "2025-13-45"),
        ("a.xml", xml(paper(changes={"TotalTax-includedAmount": "", "TotalAmWithoutTax": ""})), "金额"),
        ("a.xml", xml(paper(changes={"TotalTaxAm": "14.155"})), "14.155"),
        ("a.xml", xml(paper(changes={"TotalAmWithoutTax": "1E5"})), "1E5"),
        ("a.ofd", b"", "0 bytes"),
        ("a.ofd", ofd(paper())[:400], "OFD"),
        ("a.ofd", b"%PDF-1.7", "OFD"),
        ("a.pdf", b"not a pdf", "PDF"),
        ("a.pdf", pdf(paper())[:200], "PDF"),
        ("a.pdf", pdf_of("照片"), "no 发票号码 can be read"),
        ("readme.txt", "说明".encode(), "no e-invoice"),
    ],
)
def test_broken_and_hostile_files_are_set_aside_with_a_reason(tmp_path, name, content, reason):
    (tmp_path / name).write_bytes(content)
    reading = einvoices.read_folder(tmp_path)
    assert reading.rows.is_empty()
    assert reason in reasons(reading)[name]
    assert reading.files["rows_in"].item() == reading.files["rows_set_aside"].item() == 1


def repacked(data, *, keep=lambda _: True, rename=lambda name: name, edit=lambda _, content: content) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if keep(name):
                new.writestr(rename(name), edit(name, old.read(name)))
    return buffer.getvalue()


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("OFD.xml", b" " * (80 << 20))
    assert "unpacked" in reasons(read(tmp_path, a__ofd=buffer.getvalue()))["a.ofd"]


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("OFD.xml", b" " * (30 << 20))
    honest = (30 << 20).to_bytes(4, "little")
    lying = buffer.getvalue().replace(honest, (100).to_bytes(4, "little"))
    assert "31,457,280 bytes" in reasons(read(tmp_path, a__ofd=lying))["a.ofd"]


def test_names_that_climb_out_of_an_archive_reach_nothing(tmp_path):
    climbing = repacked(ofd(paper()), rename=lambda name: name if name == "OFD.xml" else f"../../{name}")
    reading = read(tmp_path / "in" if (tmp_path / "in").mkdir() is None else tmp_path, a__ofd=climbing)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.ofd", "in"]
    assert reading.rows["digital_number"].to_list() == ["25112000000012345678"]


def test_entities_inside_an_ofd_are_refused(tmp_path):
    evil = repacked(ofd(paper()), edit=lambda name, data: EXTERNAL if name.endswith("CustomTag.xml") else data)
    evil = repacked(
        evil, edit=lambda name, data: data.replace(b"CustomData ", b"Custom ") if name == "OFD.xml" else data
    )
    assert "DOCTYPE" in reasons(read(tmp_path, a__ofd=evil))["a.ofd"]


def test_an_encrypted_archive_says_so(tmp_path):
    data = bytearray(ofd(paper()))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 4)
    assert "encrypted" in reasons(read(tmp_path, a__ofd=bytes(data)))["a.ofd"]


def test_a_huge_file_is_not_read_into_memory(tmp_path):
    with (tmp_path / "a.xml").open("wb") as file:
        file.truncate(einvoice_row.LARGEST_FILE + 1)
    assert "too large" in reasons(einvoices.read_folder(tmp_path))["a.xml"]


def test_links_that_lead_out_are_not_followed(tmp_path):
    (tmp_path / "secret.xml").write_bytes(xml(paper()))
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "out.xml").symlink_to(tmp_path / "secret.xml")
    (folder / "gone.xml").symlink_to(folder / "nothing.xml")
    reading = einvoices.read_folder(folder)
    assert "leads out" in reasons(reading)["out.xml"]
    assert "cannot be opened" in reasons(reading)["gone.xml"]


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.xml")
    assert "no regular file" in reasons(einvoices.read_folder(tmp_path))["a.xml"]


def test_hidden_files_are_left_out_and_folders_walked(tmp_path):
    (tmp_path / "2025" / "05").mkdir(parents=True)
    (tmp_path / "2025" / "05" / "a.xml").write_bytes(xml(paper()))
    (tmp_path / ".DS_Store").write_bytes(b"x")
    reading = einvoices.read_folder(tmp_path / "2025", root=tmp_path)
    row = only(reading)
    assert (row["path"], row["source_file"]) == ("05/a.xml", "2025/05/a.xml")
    assert reading.files["source_file"].item() == "2025"


def test_no_folder_is_said(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        einvoices.read_folder(tmp_path / "nowhere")


def test_copies_of_one_invoice_that_disagree_are_a_fault(tmp_path):
    reading = read(
        tmp_path, a__xml=xml(paper()), b__ofd=ofd(paper()), c__xml=xml(paper(gross=Decimal(260), net=Decimal("245.85")))
    )
    assert reading.rows["file_faults"].to_list() == [["copies_differ"]] * 3
    agreed = einvoices.read_paths([tmp_path / "a.xml", tmp_path / "b.ofd"], root=tmp_path)
    assert agreed.rows["file_faults"].to_list() == [[], []]


def test_one_forged_date_does_not_accuse_its_neighbours(tmp_path):
    for day in range(1, 21):
        issued = datetime(2025, 5, 28) if day == 5 else datetime(2025, 5, day)
        (tmp_path / f"{day:02d}.xml").write_bytes(
            xml(paper(number=f"251120000000000000{day:02d}", issued_at=issued, requested_at=None))
        )
    odd = einvoices.read_folder(tmp_path).rows.filter(pl.col("file_hints").list.contains("out_of_order"))
    assert odd["digital_number"].to_list() == ["25112000000000000005"]


def test_the_direct_link_has_no_order_to_break(tmp_path):
    for day in range(1, 10):
        (tmp_path / f"{day}.xml").write_bytes(
            xml(paper(number=f"2511700000000000000{day}", issued_at=datetime(2025, 5, 20 - day), requested_at=None))
        )
    assert einvoices.read_folder(tmp_path).rows["file_hints"].to_list() == [[]] * 9


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.datetimes(datetime(2025, 5, 1), datetime(2025, 5, 31)), min_size=1, max_size=30),
)
def test_what_is_in_order_within_a_day_is_never_odd(times):
    assert einvoices._breaks(sorted(times)) == []
    for at in einvoices._breaks(times):
        others = [time for place, time in enumerate(times) if place != at]
        assert any(abs(times[at] - time) > einvoices.BACKWARDS for time in others)


@settings(max_examples=60, deadline=None)
@given(content=st.binary(max_size=400), name=st.sampled_from(["a.xml", "a.ofd", "a.pdf", "a.xbrl", "a.bin"]))
def test_no_content_raises_anything_but_a_reason(tmp_path_factory, content, name):
    file = tmp_path_factory.mktemp("any") / name
    file.write_bytes(content)
    answer = einvoice_row.answer_of(str(file), name)
    assert isinstance(answer, tuple)
    assert said(*answer)


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(min_value=0, max_value=1_500), flip=st.integers(min_value=0, max_value=1_500))
def test_a_damaged_ofd_is_read_right_or_set_aside(tmp_path_factory, cut, flip):
    data = bytearray(ofd(paper()))
    data[flip % len(data)] ^= 0xFF
    file = tmp_path_factory.mktemp("any") / "a.ofd"
    file.write_bytes(data[: len(data) - cut % len(data)] if cut % 2 else data)
    answer = einvoice_row.answer_of(str(file), "a.ofd")
    if isinstance(answer, dict):
        assert answer["digital_number"] == "25112000000012345678"
        assert answer["gross"] == Decimal("250.00")


@pytest.mark.parametrize(
    ("text", "yuan"), [("¥1,234.50", "1234.50"), ("￥ 0.10", "0.10"), ("１２．３", "12.30"), ("-5", "-5.00")]
)
def test_printed_sums(text, yuan):
    assert einvoice_row.amount(text) == Decimal(yuan)


@pytest.mark.parametrize("text", ["1.239", "12 34x", "NaN", "--5", "1e3"])
def test_what_is_no_sum_is_refused(text):
    with pytest.raises(BrokenFileError):
        einvoice_row.amount(text)


def test_many_files_are_read_by_several_processes_and_none_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(einvoices, "FEW_FILES", 10)
    monkeypatch.setattr(einvoices, "CHUNK", 20)
    for number in range(90):
        content = b"<broken" if number % 10 == 0 else xml(paper(number=f"2511200000{number:010d}"))
        (tmp_path / f"{number:03d}.xml").write_bytes(content)
    reading = einvoices.read_folder(tmp_path)
    assert (reading.rows.height, reading.set_aside.height) == (81, 9)
    assert reading.rows["source_file"].to_list() == [f"{n:03d}.xml" for n in range(90) if n % 10]
    assert reading.files["rows_in"].item() == 90


# What stands in for a parser: it does what the archive's only member says.
HOSTILE = """
import io, os, sys, zipfile

class OFDError(Exception):
    pass

def extract_invoice(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        exec(archive.read(archive.namelist()[0]))
"""
DEEDS = {
    "raise": ("raise IndexError('list\\nindex')", "its reader failed (IndexError: list index)"),
    "loop": ("while True: pass", "longer than {} seconds"),
    "wait": ("sys.stdin.read(); import time; time.sleep(99)", "longer than {} seconds"),
    "eat": ("kept = []\nwhile True: kept.append(bytearray(1 << 30))", "more memory than an e-invoice"),
    "print": ("print('{}'); os.write(1, b'{\"row\": {}}\\n'); os.write(2, b'noise')", "no invoice fields"),
    "die": ("os._exit(0)", "stopped while reading it"),
    "kill": ("os.kill(os.getpid(), 9)", "stopped while reading it"),
    "lie": (
        "for number in range(3, 40):\n try: os.write(number, b'{\"row\": 1}\\n')\n except OSError: 0",
        "stopped while reading it",
    ),
}


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    (tmp_path / "parser").mkdir()
    (tmp_path / "parser" / "ofdkit.py").write_text(HOSTILE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "parser"))
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


def evil(deed: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("deed.txt", DEEDS[deed][0])
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("deed", DEEDS)
def test_whatever_a_parser_does_the_one_file_is_set_aside(hostile, monkeypatch, capfd, deed):
    longest = 1 if deed in ("loop", "wait") else worker.LONGEST_S
    monkeypatch.setattr(worker, "LONGEST_S", longest)
    reading = read(hostile, a__ofd=evil(deed))
    assert DEEDS[deed][1].format(longest) in reasons(reading)["a.ofd"]
    assert (reading.rows.height, reading.files["rows_in"].item()) == (0, 1)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_among_many_files_only_those_that_harm_their_reader_are_set_aside(hostile, monkeypatch):
    monkeypatch.setattr(einvoices, "FEW_FILES", 10)
    monkeypatch.setattr(einvoices, "CHUNK", 20)
    monkeypatch.setattr(worker, "LONGEST_S", 5)
    deeds = {deed: told for deed, told in DEEDS.items() if deed != "wait"}
    for number in range(60):
        (hostile / f"{number:03d}.xml").write_bytes(xml(paper(number=f"2511200000{number:010d}")))
    for number, deed in enumerate(deeds):
        (hostile / f"{number * 6:03d}-{deed}.ofd").write_bytes(evil(deed))
    reading = einvoices.read_folder(hostile)
    told = reasons(reading)
    assert len(told) == len(deeds)
    for number, (deed, (_, reason)) in enumerate(deeds.items()):
        assert reason.format(5) in told[f"{number * 6:03d}-{deed}.ofd"]
    assert reading.rows["source_file"].to_list() == [f"{number:03d}.xml" for number in range(60)]


def test_what_a_process_says_is_believed_only_as_its_schema_has_it(tmp_path):
    (tmp_path / "甲.xml").write_bytes(xml(paper()))
    row = einvoice_row.answer_of(str(tmp_path / "甲.xml"), "甲.xml")
    line = worker.encoded(row)
    assert workers.decoded(line, "甲.xml") == row
    assert workers.decoded(worker.encoded(("no_date", "x")), "甲.xml") == ("no_date", "x")
    wrong = {"path": "乙.xml", "sha256": "../x", "size": -1, "date_only": 1, "net": "1e9", "tax": 3, "gross": "NaN"}
    wrong |= {"issued_at": "2025-05-03T10:00:00Z", "remark": {}, "file_faults": [1], "kind": "\ud800", "status": "x"}
    for column, value in (wrong | {"source_row": 1, "more": "x"}).items():
        with pytest.raises(ValueError, match=r"\w"):
            workers.decoded(json.dumps({"row": row | {column: value}}, default=str).encode() + b"\n", "甲.xml")
    for said in (b"", line[:-1], b"[]\n", b"{}\n", b'{"row": 3}\n', b'{"reason": "x", "detail": ""}\n', b"\xff\n"):
        with pytest.raises(ValueError, match=r"\w"):
            workers.decoded(said, "甲.xml")


def test_a_process_that_cannot_start_is_said_and_no_file_blamed(hostile):
    (hostile.parent / "parser" / "lxml.py").write_text("raise SystemExit(3)")
    with pytest.raises(SourceError, match="could not be started"):
        read(hostile, a__ofd=ofd(paper()))


def test_an_exception_over_an_xml_is_a_reason_too(tmp_path, monkeypatch):
    monkeypatch.setattr(einvoice_row, "read_xml", lambda data: data.index(b"nothing"))
    assert "its reader failed (ValueError" in reasons(read(tmp_path, a__xml=xml(paper())))["a.xml"]


def test_names_in_another_encoding_reach_the_process_and_come_back_in_letters(tmp_path):
    (tmp_path / os.fsdecode("发票".encode("gbk") + b".ofd")).write_bytes(ofd(paper()))
    assert only(einvoices.read_folder(tmp_path))["path"] == "发票.ofd"


def test_progress_speaks_on_standard_error(tmp_path, capfd):
    (tmp_path / "a.xml").write_bytes(xml(paper()))
    einvoices.read_folder(tmp_path, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "1/1" in err
