"""One invoice's story: every source has its say, in time order; numbers may be typed as people type them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import product

import polars as pl
import pytest

from audit_kit.analysis.work import analyse
from audit_kit.core.errors import RequestError
from audit_kit.loaders.engagement.engagement import open_engagement
from audit_kit.training.world.einvoice_files import Paper, xml
from audit_kit.views.trace import tell, trace

NUMBER = "25112000000012345678"
TYPED = "25112000000012345687"  # two neighbours swapped
COLUMNS = (
    "数电发票号码", "发票代码", "发票号码", "开票日期", "销方识别号", "销方名称", "购方识别号", "购买方名称",
    "金额", "税额", "价税合计", "发票状态", "备注",
)  # fmt: skip
HEAD = ",".join(COLUMNS) + "\n"
PARTIES = "91110108MA01ABCD2X,北京甲科技有限公司,91110105MA00XYQW3Q,北京乙商贸有限公司"
PERSON = "91110108MA01ABCD2X,北京甲科技有限公司,110105199003071234,高宗林"
OLD_CODE, OLD_NUMBER = "011001900311", "21010038"
PAPER = Paper(
    number=NUMBER,
    issued_at=datetime(2025, 5, 3, 10, 5),
    seller_tax_id="91110108MA01ABCD2X",
    seller_name="北京甲科技有限公司",
    buyer_tax_id="91110105MA00XYQW3Q",
    buyer_name="北京乙商贸有限公司",
    net=Decimal("100.00"),
    tax=Decimal("6.00"),
    gross=Decimal("106.00"),
    requested_at=datetime(2025, 5, 3, 9, 50),
    signed_at=datetime(2025, 5, 3, 10, 5, 1),
)
FILES = {
    "audit.toml": """
[engagement]
taken_at = 2025-06-01T09:00:00
[sources]
ledger = "ledger.csv"
platform = "platform.csv"
sync_log = "sync_log.csv"
operations = "operations.csv"
confirmations = "confirmations.csv"
red_confirmations = "red_confirmations.csv"
tickets = "tickets.csv"
notices = "notices.csv"
substitute = "substitute.csv"
register = "register.csv"
invoice_files = "原件"
backups = "backups.csv"
backup_listing = "backup_listing.csv"
""",
    "ledger.csv": HEAD
    + f"{TYPED},,,2025-05-03 10:05:00,{PARTIES},100.00,6.00,106.00,正常,\n"
    + f",{OLD_CODE},{OLD_NUMBER},2020-05-03 10:05:00,{PARTIES},200.00,12.00,212.00,正常,\n"
    + f"25112000000099999999,,,2025-05-09 10:05:00,{PERSON},300.00,18.00,318.00,正常,\n",
    "platform.csv": HEAD + f"{NUMBER},,,2025-05-03 10:05:00,{PARTIES},100.00,6.00,106.00,正常,\n",
    "sync_log.csv": "发票号码,事件,时间,渠道,批次号,错误码,说明\n"
    f"{NUMBER},失败,2025-05-03 10:06:00,网页,B1,E17,超时\n{NUMBER},入库,2025-05-03 11:00:00,网页,B1,,\n",
    "operations.csv": "时间,账号,操作,发票号码,字段,原值,新值,结果\n2025-05-04 08:00:00,kpy01,修改,"
    f"{NUMBER},备注,a,b,成功\n2025-05-05 08:00:00,kpy01,登录,,,,,成功\n",
    "confirmations.csv": f"发票号码,来源,结果,时间,附件\n{NUMBER},查验平台,一致,2025-05-20 08:00:00,p.png\n",
    "red_confirmations.csv": "红字确认单编号,蓝字发票号码,状态,申请时间,确认时间,金额,税额\n"
    f"11010125050000000001,{NUMBER},04,2025-05-21 08:00:00,2025-05-22 08:00:00,-100.00,-6.00\n",
    "tickets.csv": "工单号,发票号码,级别,提交时间,更新时间,期限,状态,处理结果\n"
    f"T1,{NUMBER},税务局,2025-05-06 08:00:00,2025-05-07 08:00:00,2025-05-09 08:00:00,已解决,已补录\n",
    "notices.csv": "开始时间,结束时间,类型,范围,标题,来源\n"
    "2025-05-03 10:00:00,2025-05-03 10:30:00,维护,全部,升级,官网\n",
    "substitute.csv": HEAD.strip() + ",迁回时间\n"
    f"{NUMBER},,,2025-05-03 10:05:00,{PARTIES},100.00,6.00,106.00,正常,,2025-05-08 08:00:00\n",
    "register.csv": HEAD.strip() + ",登记人,复核人\n"
    f"{NUMBER},,,2025-05-03 10:05:00,{PARTIES},100.00,6.00,106.00,正常,,王小明,李四\n",
    "backups.csv": "backup_id,repo_id,job,tool,kind,data_time,started_at,finished_at,status\n"
    "b1,r,r,restic,snapshot,2025-05-04 02:00:00,2025-05-04 02:00:00,2025-05-04 02:05:00,ok\n"
    "b2,r,r,restic,snapshot,2025-05-05 02:00:00,2025-05-05 02:00:00,2025-05-05 02:05:00,ok\n",
    "backup_listing.csv": "repo_id,path_norm,size,hash,hash_kind,first_ord,last_ord\n"
    f"r,/srv/2025/{NUMBER}.xml,1000,,none,0,1\n",
}


@pytest.fixture(scope="module")
def analysis(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trace")
    for name, text in FILES.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "原件").mkdir()
    (folder / "原件" / f"{NUMBER}.xml").write_bytes(xml(PAPER))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield analyse(open_engagement(folder))


def test_every_source_has_its_say_in_time_order(analysis):
    story = trace(analysis, NUMBER, lang="en")
    assert story.schema == {
        "at": pl.Datetime("us"),
        "source": pl.String(),
        "what": pl.String(),
        "source_file": pl.String(),
        "source_row": pl.UInt32(),
    }
    assert story["at"].is_sorted()
    assert sorted(set(story["source"])) == [
        "backup",
        "confirmations",
        "e-invoice file",
        "finding",
        "ledger",
        "operations",
        "platform",
        "red confirmation form",
        "register",
        "stop",
        "substitute system",
        "sync log",
        "tickets",
        "who could see it",
    ]
    said = dict(zip(story["source"], story["what"], strict=True))
    assert story.filter(pl.col("source") == "sync log")["what"].to_list() == [
        "failed: channel 网页, batch B1, E17 超时",
        "visible: channel 网页, batch B1, – –",
    ]
    assert "2 backups of r hold" in said["backup"]
    assert "the earliest is b1" in said["backup"]
    assert story.filter(pl.col("source") == "tickets").height == 3
    assert story.filter(pl.col("source") == "red confirmation form")["what"].to_list() == [
        "red confirmation form 11010125050000000001 applied for: confirmed by both, net -100.00, tax -6.00",
        "red confirmation form 11010125050000000001 confirmed",
    ]
    assert "login" not in " ".join(story["what"])


def test_a_mistyped_ledger_row_and_its_finding_belong_to_the_story(analysis):
    for typed in (NUMBER, TYPED):
        story = trace(analysis, typed)
        told = story.filter(pl.col("source") == "企业台账")["what"].item()
        assert TYPED in told
        assert story.filter(pl.col("source") == "平台导出").height == 1
        assert "号码录错" in " ".join(story.filter(pl.col("source") == "审计发现")["what"])


@pytest.mark.parametrize(
    "typed",
    [
        NUMBER,
        f" {NUMBER} ",
        "２５１１２０００００００１２３４５６７８",
        "2511-2000-0000-1234-5678",
        f"'{NUMBER}",
        NUMBER + "\t",
    ],
)
def test_the_number_may_be_typed_as_people_type_it(analysis, typed):
    assert trace(analysis, typed).equals(trace(analysis, NUMBER))


def test_a_prefix_of_one_invoice_finds_it(analysis):
    assert trace(analysis, "2511200000009999").equals(trace(analysis, "25112000000099999999"))


def test_a_prefix_of_several_lists_them(analysis):
    listed = trace(analysis, "25112000")
    assert listed["source"].unique().to_list() == ["候选"]
    assert [number in " ".join(listed["what"]) for number in (NUMBER, TYPED, "25112000000099999999")] == [True] * 3
    assert "平台导出" in listed.filter(pl.col("what").str.contains(NUMBER))["what"].item()


@pytest.mark.parametrize("typed", [OLD_CODE + OLD_NUMBER, OLD_NUMBER, f"{OLD_CODE} {OLD_NUMBER}"])
def test_an_old_invoice_is_found_by_its_number(analysis, typed):
    assert "212.00" in trace(analysis, typed).filter(pl.col("source") == "企业台账")["what"].item()


def test_persons_are_masked_unless_asked(analysis):
    number = "25112000000099999999"
    masked, open_ = (
        trace(analysis, number)["what"].str.join(""),
        trace(analysis, number, reveal=True)["what"].str.join(""),
    )
    assert "高宗林" not in masked.item()
    assert "高**" in masked.item()
    assert "高宗林" in open_.item()
    assert "北京甲科技有限公司" in masked.item()
    registered = trace(analysis, NUMBER).filter(pl.col("source") == "手工登记")["what"].item()
    assert "王小明" not in registered


@pytest.mark.parametrize(
    ("typed", "reason"), [("2511", "too short"), ("99" * 10, "No source knows"), ("发票", "too short")]
)
def test_what_cannot_be_found_is_said(analysis, typed, reason):
    with pytest.raises(RequestError, match=reason):
        trace(analysis, typed)


def test_the_story_as_text(analysis):
    lines = tell(trace(analysis, NUMBER)).splitlines()
    assert len(lines) == trace(analysis, NUMBER).height
    assert lines[0].startswith("2025-05-03 ")
    assert any(line.endswith("[sync_log.csv:2]") for line in lines)
    assert tell(pl.DataFrame([{"at": None, "source": "s", "what": "w", "source_file": None, "source_row": None}])) == (
        "（无时间）  s  w"
    )


def test_an_engagement_will_do(analysis):
    assert trace(analysis.engagement, NUMBER).equals(trace(analysis, NUMBER))


OTHER_CODE, OTHER_NUMBER = "011002000211", "31010039"
ACCOUNTS = (
    "账号,使用人,纳税人识别号,角色,权限,状态,有效期起,有效期止\n"
    "kpy01,王小明,91110108MA01ABCD2X,开票员,发票业务,正常,2025-01-01,\n"
    "kpy02,李四,91110108MA01ABCD2X,开票员,发票业务,锁定,2025-01-01,\n"
    "kpy03,赵六,91110108MA01ABCD2X,开票员,发票业务,正常,2025-01-01,2025-05-31\n"
    "kpy04,钱七,91110108MA01ABCD2X,开票员,,正常,2025-01-01,\n"
    "cw01,孙八,,财务负责人,,正常,,\n"
)
ONLY_IN = {  # file, the row that holds the number, what the story's source is called
    "sync log": ("sync_log.csv", "{number},开具,2025-05-31 09:00:00,网页,B9,,"),
    "operations": ("operations.csv", "2025-05-04 08:00:00,kpy01,重传,{number},,,,成功"),
    "confirmations": ("confirmations.csv", "{number},查验平台,不存在,2025-05-20 08:00:00,q.png"),
    "red confirmation form": ("red_confirmations.csv", "F1,{number},待购方确认,2025-05-06 08:00:00,,-1,0"),
    "tickets": ("tickets.csv", "T9,{number},客服,2025-05-06 08:00:00,,,处理中,"),
    "substitute system": ("substitute.csv", "{number},,,2025-05-03 10:05:00," + PARTIES + ",1,0,1,正常,,"),
    "register": ("register.csv", "{number},,,2025-05-03 10:05:00," + PARTIES + ",1,0,1,正常,,王小明,李四"),
    "ledger": ("ledger.csv", "25112000000044444445,,,2025-05-09 10:05:00," + PARTIES + ",-1,0,-1,正常,"
               "被红冲蓝字数电票号码：{number}"),
    "row set aside": ("ledger.csv", "{number},,,2025-05-09 10:05:00"),
    "backup": ("backup_listing.csv", "r,/srv/2025/{number}.xml,1000,,none,0,1"),
}  # fmt: skip


FORMS = {
    "plain": str,
    "full width": lambda number: number.translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    "signs": lambda number: f" {number[:4]} {number[4:8]}-{number[8:]}",
}
PAIRS = [*product(ONLY_IN, ["plain"]), *product(["tickets", "register"], ["full width", "signs"])]
CASES = {pair: f"2511200000055{at:05d}77" for at, pair in enumerate(PAIRS)}
OLD_TICKET = f"T10,{OTHER_CODE} {OTHER_NUMBER},客服,2025-05-06 08:00:00,,,处理中,"
CHECKED = "25112000000033333337"


@pytest.fixture(scope="module")
def scattered(tmp_path_factory):
    """The engagement above without its e-invoice, with permissions, and numbers that one table alone holds."""
    files = FILES | {"accounts.csv": ACCOUNTS}
    files["audit.toml"] = files["audit.toml"].replace('invoice_files = "原件"', 'accounts = "accounts.csv"')
    files["register.csv"] = files["register.csv"].replace("复核人\n", "复核人,复核号码\n")
    for (source, form), number in CASES.items():
        file, row = ONLY_IN[source]
        files[file] += row.format(number=FORMS[form](number)) + (",\n" if source == "register" else "\n")
    files["tickets.csv"] += OLD_TICKET + "\n"
    files["register.csv"] += ONLY_IN["register"][1].format(number="25112000000044444447") + f",{CHECKED}\n"
    folder = tmp_path_factory.mktemp("scattered")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUDIT_KIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield analyse(open_engagement(folder))


@pytest.mark.parametrize(("source", "form"), CASES)
def test_a_number_that_one_table_alone_holds_has_its_story(scattered, source, form):
    number, file = CASES[source, form], ONLY_IN[source][0]
    story = trace(scattered, number, lang="en")
    told = story.filter(pl.col("source") == source)
    assert told["source_file"].to_list() == [file]
    assert told["source_row"].min() > 1
    late = story.filter(pl.col("source") == "chance to be late")["what"].item()
    assert ("if it was issued at 2025-05-" in late) == (source in {"sync log", "substitute system", "register"})
    seen = story.filter(pl.col("source") == "who could see it")["what"].item()
    assert seen == "2 accounts could query it when the export was taken: kpy01 (王**), cw01 (孙**)"
    assert trace(scattered, FORMS[form](number), lang="en").equals(story)
    with pytest.raises(RequestError, match="No source knows"):
        trace(scattered, number[:-1] + "8")


@pytest.mark.parametrize("typed", [f"{OTHER_CODE}{OTHER_NUMBER}", f"{OTHER_CODE[1:]} {OTHER_NUMBER}", OTHER_NUMBER])
def test_an_old_invoice_that_only_a_ticket_knows(scattered, typed):
    story = trace(scattered, typed, lang="en")
    assert story["source"].to_list() == ["tickets", "finding", "chance to be late", "who could see it"]
    assert story.row(1, named=True)["what"].startswith("Ticket overdue")


def test_what_the_checker_of_a_register_read_leads_to_its_row(scattered):
    told = trace(scattered, CHECKED, lang="en").filter(pl.col("source") == "register")["what"].item()
    assert told.startswith("the checker of the register read this number; written down as 25112000000044444447")


def test_a_missing_invoice_has_the_chance_of_its_finding_and_a_listed_one_none(analysis):
    number = "25112000000099999999"
    chance = analysis.findings.filter(pl.col("invoice_key") == number)["probability_late"].item()
    story = trace(analysis, number, lang="en")
    assert f"{100 * chance:.1f} %" in story.filter(pl.col("source") == "chance to be late")["what"].item()
    assert "unknown" in story.filter(pl.col("source") == "who could see it")["what"].item()
    assert "chance to be late" not in trace(analysis, NUMBER, lang="en")["source"].to_list()
