"""The canonical tables: every column with its type, Chinese header, unit and meaning.

Conventions, once for all: times are Beijing time (UTC+8), stored without zone. Ranges include their start and exclude
their end. Money is yuan with two decimals. Identifiers are text. Empty text is null. Every row of an input keeps the
file it came from and the physical row a person sees there.
"""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import dataframely as dy
import polars as pl

from audit_kit.core import words

BEIJING = timezone(timedelta(hours=8))
SEVERITIES = words.SEVERITIES
STATUSES = ("normal", "voided", "red_full", "red_part", "not_issued", "unknown")
OUTCOMES = (
    "matched", "matched_cleaned", "mistyped", "conflict", "duplicate", "ambiguous", "missing", "unbooked",
)  # fmt: skip
CLEANINGS = (
    "full_width", "separator", "leading_zero", "confusable", "quote", "split_number", "precision_lost",
    "number_incomplete",
)  # fmt: skip
AREAS = ("sync", "missing", "backup", "response")
STATES = ("fails", "unknown")
EVENTS = ("issued", "uploaded", "received", "visible", "failed")
ACCOUNT_STATUSES = ("active", "locked", "frozen", "pending", "ended")
NOTICE_KINDS = ("maintenance", "upgrade", "outage", "network")
ACTIONS = ("edit", "void", "red", "resend", "export", "login")
CONFIRMATION_SOURCES = ("national", "counterparty", "department", "file")
CONFIRMATION_RESULTS = (
    "agree",
    "differ",
    "absent",
    "over_limit",
    "too_soon",
    "too_old",
    "unsupported",
    "no_answer",
)
RED_FORM_STATES = (
    "not_needed", "waiting_for_buyer", "waiting_for_seller", "confirmed", "refused_by_buyer", "refused_by_seller",
    "lapsed", "withdrawn", "withdrawn_after", "abnormal", "taxpayer_state", "refused_by_person", "refund_claimed",
    "waiting", "refused", "void", "draft", "not_accepted", "unknown",
)  # fmt: skip
TICKET_LEVELS = ("support", "it", "management", "tax_bureau")
TICKET_STATES = ("open", "waiting", "solved", "closed")
METRICS = ("cpu", "memory", "disk", "network", "queue")
BACKUP_KINDS = ("full", "incr", "diff", "log", "snapshot", "copy", "unknown")
CHAIN_SEMANTICS = ("independent", "linked", "lsn")
TIME_SOURCES = ("offset", "epoch", "naive_tz", "settable")
RUN_STATUSES = ("ok", "warning", "failed", "running", "unknown")
CHECK_RESULTS = ("ok", "error", "unknown")
COMPARISONS = ("hash", "open", "none")
HASH_KINDS = ("sha256", "sha1", "md5", "etag", "blob", "none")


def _meta(header: str, meaning: str, unit: str = "") -> dict[str, Any]:
    return {"header": header, "meaning": meaning, "unit": unit}


def _text(header: str, meaning: str = "", *, nullable: bool = True) -> dy.String:
    return dy.String(nullable=nullable, metadata=_meta(header, meaning))


def _time(header: str, meaning: str = "", *, nullable: bool = True) -> dy.Datetime:
    return dy.Datetime(nullable=nullable, time_unit="us", metadata=_meta(header, meaning, "Beijing time"))


def _money(header: str, meaning: str = "") -> dy.Decimal:
    return dy.Decimal(18, 2, nullable=True, metadata=_meta(header, meaning, "yuan"))


def _flag(header: str, meaning: str = "", *, nullable: bool = True) -> dy.Bool:
    return dy.Bool(nullable=nullable, metadata=_meta(header, meaning))


def _word(header: str, words: tuple[str, ...], meaning: str = "", *, nullable: bool = True) -> dy.Enum:
    return dy.Enum(list(words), nullable=nullable, metadata=_meta(header, meaning))


def _count(header: str, meaning: str = "", unit: str = "") -> dy.UInt64:
    return dy.UInt64(nullable=True, metadata=_meta(header, meaning, unit))


def _share(header: str, meaning: str = "", unit: str = "") -> dy.Float64:
    return dy.Float64(nullable=True, metadata=_meta(header, meaning, unit))


def _texts(header: str, meaning: str = "") -> dy.List:
    return dy.List(dy.String(nullable=False), nullable=True, metadata=_meta(header, meaning))


class Sourced(dy.Schema):
    """Where a row was read."""

    source_file = _text("来源文件", "the file, relative to the engagement, or the database source's name")
    source_row = dy.UInt32(nullable=True, metadata=_meta("来源行", "the physical row a person sees, from 1"))


class Ledger(Sourced):
    """企业台账: what the company says was issued or received."""

    serial = _text("流水号", "the company's own issue order")
    invoice_code = _text("发票代码", "10 or 12 digits; old invoices and paper 数电票")
    invoice_number = _text("发票号码", "8 digits, or 20")
    digital_number = _text("数电发票号码", "20 digits")
    issued_at = _time("开票日期", "when it was issued")
    date_only = _flag("仅有日期", "the source gives no time of day; such a date equals any time on that day")
    seller_tax_id = _text("销方识别号", "taxpayer id of the seller")
    seller_name = _text("销方名称", "name of the seller")
    buyer_tax_id = _text("购方识别号", "taxpayer id of the buyer")
    buyer_name = _text("购买方名称", "name of the buyer")
    net = _money("金额", "amount without tax")
    tax = _money("税额", "tax")
    gross = _money("价税合计", "amount with tax")
    kind = _text("发票票种", "kind of invoice, in the platform's own words")
    status = _word("发票状态", STATUSES, "state of the invoice")
    positive = _flag("是否正数发票", "false = a red invoice")
    channel = _text("开票渠道", "how it was issued: 网页, 乐企, 税控, 移动端, …")
    account = _text("开票账号", "who issued it")
    origin = _text("发票来源", "电子发票服务平台 or 增值税发票管理系统")
    remark = _text("备注", "free text")
    red_of = _text("对应蓝字发票", "the blue invoice's key, parsed from the remark")
    voucher = _text("凭证号", "the accounting voucher; ledger only")
    visible_at = _time("入库时间", "when the platform took it in; platform only")
    cleaning = _texts("清洗", "what was found and cleaned in the number: see CLEANINGS")


class Platform(Ledger):
    """平台导出: what the tax platform lists."""

    risk = _text("发票风险等级", "正常, or why the platform doubts it, in its own words")
    risk_state = _text("风险状态", "无风险, or otherwise, as the list for deduction says it")


class Substitute(Ledger):
    """替代系统台账: invoices kept in a substitute system during an emergency."""

    migrated_at = _time("迁回时间", "when it was brought back into the main system; null = not yet")


class Register(Ledger):
    """手工登记表: invoices written down by hand during an emergency, with a double check."""

    entered_by = _text("登记人", "who wrote it down")
    checked_by = _text("复核人", "who checked it; must be another person")
    checked_number = _text("复核号码", "the number as the checker read it")
    checked_gross = _money("复核价税合计", "the amount as the checker read it")


class SyncLog(Sourced):
    """同步日志: what happened to an invoice on its way to the platform."""

    invoice_number = _text("发票号码", "20 digits, or code and number of an old invoice")
    event = _word("事件", EVENTS, "issued 开具, uploaded 上传, received 接收, visible 入库, failed 失败")
    at = _time("时间", "when")
    channel = _text("渠道", "by which channel")
    batch = _text("批次号", "upload batch")
    error_code = _text("错误码", "code of a failure")
    message = _text("说明", "words of a failure")


class Accounts(Sourced):
    """账号权限: who may do what on the platform."""

    account = _text("账号", "login name")
    holder = _text("使用人", "the person")
    tax_id = _text("纳税人识别号", "the taxpayer the account belongs to")
    role = _text("角色", "法定代表人, 财务负责人, 办税员, 开票员, …")
    grants = _text("权限", "separated by ；")
    status = _word("状态", ACCOUNT_STATUSES, "active 正常, locked 锁定, frozen 冻结, pending 待确认, ended 已失效")
    valid_from = _time("有效期起", "first moment of validity")
    valid_to = _time("有效期止", "end of validity; null = no end")


class Notices(Sourced):
    """系统公告: announced stops and failures of the platform."""

    starts_at = _time("开始时间", "start")
    ends_at = _time("结束时间", "end; null = still open")
    kind = _word("类型", NOTICE_KINDS, "maintenance 维护, upgrade 升级, outage 故障, network 网络")
    scope = _text("范围", "a channel, or 全部")
    title = _text("标题", "title of the notice")
    source = _text("来源", "where it was published")


class Operations(Sourced):
    """操作日志: what people did on the platform or in the invoicing client."""

    at = _time("时间", "when")
    account = _text("账号", "who")
    action = _word("操作", ACTIONS, "edit 修改, void 作废, red 红冲, resend 重传, export 导出, login 登录")
    invoice_number = _text("发票号码", "20 digits, or code and number of an old invoice")
    field = _text("字段", "what was changed")
    before = _text("原值", "value before")
    after = _text("新值", "value after")
    result = _text("结果", "what came of it")
    place = _text("登录地点", "from where: an address of the network, or a machine")


class Confirmations(Sourced):
    """备用查询: what other sources say of an invoice."""

    invoice_number = _text("发票号码", "20 digits, or code and number of an old invoice")
    source = _word(
        "来源", CONFIRMATION_SOURCES, "national 查验平台, counterparty 对方, department 内部部门, file 电子原件"
    )
    result = _word(
        "结果",
        CONFIRMATION_RESULTS,
        "agree 一致, differ 不一致, absent 不存在; no answer: over_limit 超过次数, too_soon 当日开具, "
        "too_old 超过五年, unsupported 不支持, no_answer 未得到答复",
    )
    at = _time("时间", "when it was asked")
    evidence = _text("附件", "the proof kept")


class RedConfirmations(Sourced):
    """红字确认单: the forms that a red invoice needs before it can be issued."""

    form = _text("红字确认单编号", "number of the form")
    invoice_number = _text("蓝字发票号码", "the blue invoice: 20 digits, or code and number of an old one")
    state = _word("状态", RED_FORM_STATES, "the platform's codes 01 to 13 or its words, 02 销方录入待购方确认; …")
    applied_at = _time("申请时间", "when it was applied for")
    confirmed_at = _time("确认时间", "when the other side confirmed it")
    net = _money("金额", "amount to be reversed, without tax")
    tax = _money("税额", "tax to be reversed")


class InvoiceFiles(Ledger):
    """电子发票文件: the fields inside OFD, XML and PDF files, one row a file."""

    path = _text("路径", "path of the file, relative to its folder")
    sha256 = _text("哈希", "hexadecimal SHA-256 of the file")
    size = _count("大小", "size of the file", "bytes")
    mtime = _time("修改时间", "modification time of the file")
    role = _text("角色", "xml, ofd, pdf, xbrl or other")
    requested_at = _time("申请时间", "RequestTime inside the invoice")
    signed_at = _time("签名时间", "SignatureTime inside the invoice; minus RequestTime it is the issuing delay")


class Tickets(Sourced):
    """工单: reports of a problem and how they were followed up."""

    ticket = _text("工单号", "number of the ticket")
    invoice_number = _text("发票号码", "20 digits, or code and number of an old invoice")
    level = _word("级别", TICKET_LEVELS, "support 客服, it IT部门, management 主管, tax_bureau 税务局")
    opened_at = _time("提交时间", "when it was opened")
    replied_at = _time("首次回复时间", "first reply; where it is not told, the first change after opening counts")
    updated_at = _time("更新时间", "last change")
    due_at = _time("期限", "when an answer is due")
    state = _word("状态", TICKET_STATES, "open 处理中, waiting 待回复, solved 已解决, closed 已关闭")
    outcome = _text("处理结果", "what came of it")


class Metrics(Sourced):
    """监控指标: measurements of the company's own systems."""

    at = _time("时间", "when")
    host = _text("主机", "which machine")
    metric = _word("指标", METRICS, "cpu, memory, disk, network, queue")
    value = _share("数值", "share 0-1, or in the unit beside it")
    unit = _text("单位", "unit of the value; empty = a share")


class Backups(Sourced):
    """备份目录: one row a backup run or snapshot, failed runs included."""

    backup_id = _text("备份号", "unique within tool and repository")
    repo_id = _text("备份库", "the repository")
    job = _text("任务", "the job that made it")
    tool = _text("工具", "restic, borg, pgbackrest, …")
    tool_version = _text("工具版本", "version of the tool")
    source_host = _text("源主机", "the machine backed up")
    source_paths = _texts("源路径", "the folders backed up")
    kind = _word("备份类型", BACKUP_KINDS, "snapshot = complete in itself")
    chain_semantics = _word("链式语义", CHAIN_SEMANTICS, "what the parent means to this tool")
    parent_id = _text("父备份", "the tool's parent")
    needs_ids = _texts("依赖备份", "all backups that a restore needs")
    lsn_from = _count("起始LSN", "first log position")
    lsn_to = _count("结束LSN", "last log position")
    data_time = _time("数据时间", "the moment a restore would bring back")
    started_at = _time("开始时间", "start of the run")
    finished_at = _time("结束时间", "end of the run; null = never finished")
    time_source = _word("时间来源", TIME_SOURCES, "how the time was read")
    source_tz = _text("时区", "the zone the time was read in")
    status = _word("状态", RUN_STATUSES, "warning is not ok for coverage")
    raw_status = _text("原始状态", "the tool's own word")
    files = _count("文件数", "files in the backup")
    bytes_source = _count("源字节", "logical size", "bytes")
    bytes_stored = _count("存储字节", "size on disk", "bytes")
    encrypted = _flag("是否加密", "null = not evidenced")
    enc_method = _text("加密方式", "the tool's own word")
    location = _text("位置", "address of the copy")
    site = _text("站点", "where the copy is kept")
    medium = _text("介质", "disk, tape, cloud, …")
    immutable_until = _time("不可变至", "until when it cannot be changed")
    excludes = _texts("排除", "patterns left out")
    expires_at = _time("到期时间", "when it will be deleted")
    deleted_at = _time("删除时间", "when it was deleted")
    evidence_file = _text("证据文件", "the file that says so")
    evidence_line = dy.UInt32(nullable=True, metadata=_meta("证据行", "the line in it, from 1"))
    evidence_sha256 = _text("证据哈希", "hexadecimal SHA-256 of that file")


class BackupChecks(Sourced):
    """备份校验: checks of backups. Evidence levels: 0 listed, 1 structure, 2 data read, 3 restored, 4 opened."""

    repo_id = _text("备份库", "the repository")
    backup_id = _text("备份号", "empty = the whole repository")
    performed_at = _time("校验时间", "when; it covers only backups that existed then")
    level = dy.UInt8(nullable=True, metadata=_meta("级别", "evidence level 0-4"))
    scope_pct = _share("范围", "how much was read", "percent")
    result = _word("结果", CHECK_RESULTS, "ok, error, unknown")
    errors = _count("错误数", "errors found")
    damaged = _texts("损坏", "what was found damaged")
    command = _text("命令", "the command line")
    exit_code = dy.Int32(nullable=True, metadata=_meta("退出码", "exit code of the command"))
    output = _text("输出文件", "file with its stdout, relative to the engagement")
    errors_output = _text("错误输出文件", "file with its stderr, relative to the engagement")
    by = _text("执行人", "who ran it")
    evidence_file = _text("证据文件", "the file that says so")
    evidence_line = dy.UInt32(nullable=True, metadata=_meta("证据行", "the line in it, from 1"))
    evidence_sha256 = _text("证据哈希", "hexadecimal SHA-256 of that file")


class RestoreTests(BackupChecks):
    """恢复测试: backups that were brought back and looked at."""

    files_restored = _count("恢复文件数", "files brought back")
    bytes_restored = _count("恢复字节", "bytes brought back", "bytes")
    duration_s = _share("用时", "how long it took", "seconds")
    compared_by = _word("比对方式", COMPARISONS, "hash, open, none")
    target = _text("恢复目标", "where to")


class BackupListing(Sourced):
    """备份内容: which files are in which backups of a repository (from first_ord to last_ord, both included)."""

    repo_id = _text("备份库", "the repository")
    path_norm = _text("路径", "normalised path")
    size = _count("大小", "size of the file", "bytes")
    mtime = _time("修改时间", "modification time")
    hash = _text("哈希", "hexadecimal hash of the content")
    hash_kind = _word("哈希类型", HASH_KINDS, "sha256, sha1, md5, etag, blob, none")
    first_ord = dy.UInt32(nullable=True, metadata=_meta("首个序号", "0-based order by data_time, then backup_id"))
    last_ord = dy.UInt32(nullable=True, metadata=_meta("末个序号", "last backup that holds it, included"))


class Schedule(Sourced):
    """备份计划: when a job should run."""

    job = _text("任务", "the job")
    kind = _word("备份类型", BACKUP_KINDS, "kind of backup")
    cron = _text("周期", "cron expression")
    tz = _text("时区", "zone of the cron expression")
    tol_early = _share("允许提前", "how early a run may start", "minutes")
    tol_late = _share("允许延后", "how late a run may start", "minutes")
    valid_from = _time("生效起", "local, included")
    valid_to = _time("生效止", "local, excluded")


class Matches(dy.Schema):
    """对账结果: one row a ledger row, then the platform rows that nothing in the ledger claims."""

    ledger_row = dy.UInt32(nullable=True, metadata=_meta("台账行", "0-based position; null = unbooked"))
    platform_row = dy.UInt32(nullable=True, metadata=_meta("平台行", "0-based position"))
    invoice_key = _text("发票主键", "20 digits, or old code and number; null without a usable number")
    candidates = dy.List(
        dy.UInt32(nullable=False),
        nullable=True,
        metadata=_meta("候选", "platform rows of an ambiguous one: the first 100"),
    )
    candidate_count = dy.UInt32(nullable=False, metadata=_meta("候选数", "how many platform rows fit an ambiguous one"))
    outcome = _word("对账结果", OUTCOMES, "how the row was reconciled", nullable=False)
    differences = _texts("差异字段", "the fields that differ")
    cleaning = _texts("清洗", "what was cleaned in the number")


class Findings(dy.Schema):
    """审计发现: one row a thing to act on."""

    finding_id = _text("发现编号", "the same for the same finding in the next run", nullable=False)
    area = _word("领域", AREAS, "", nullable=False)
    cause = _text("原因", "see causes.toml", nullable=False)
    severity = _word("严重程度", SEVERITIES, "", nullable=False)
    state = _word("状态", STATES, "fails, or unknown where evidence is missing", nullable=False)
    invoice_key = _text("发票主键", "20 digits, or old code and number")
    ledger_row = dy.UInt32(nullable=True, metadata=_meta("台账行", "0-based position in the ledger"))
    platform_row = dy.UInt32(nullable=True, metadata=_meta("平台行", "0-based position on the platform, if unbooked"))
    subject = _text("对象", "what it is about where that is a group: batch, stop, level, repository, run, slot; shared")
    amount = _money("金额", "gross")
    probability_late = _share("迟到概率", "chance that it is merely late; never 0 or 1", "share")
    evidence = _text("证据", "what was seen, with file and row")
    next_step = _text("下一步", "what to do, in the language asked for")
    source_file = _text("来源文件", "the file of the row")
    source_row = dy.UInt32(nullable=True, metadata=_meta("来源行", "the physical row"))


INPUTS: dict[str, type[dy.Schema]] = {
    "ledger": Ledger,
    "platform": Platform,
    "substitute": Substitute,
    "register": Register,
    "sync_log": SyncLog,
    "accounts": Accounts,
    "notices": Notices,
    "operations": Operations,
    "confirmations": Confirmations,
    "red_confirmations": RedConfirmations,
    "invoice_files": InvoiceFiles,
    "tickets": Tickets,
    "metrics": Metrics,
    "backups": Backups,
    "backup_checks": BackupChecks,
    "restore_tests": RestoreTests,
    "backup_listing": BackupListing,
    "schedule": Schedule,
}
OUTPUTS: dict[str, type[dy.Schema]] = {"matches": Matches, "findings": Findings}
TABLES: dict[str, type[dy.Schema]] = INPUTS | OUTPUTS
ALL_CHANNELS = "全部"  # the word for all channels together, of a stop or a figure


def by_severity() -> pl.Expr:
    """Return the column `severity` as an order: sorted by it, the most severe comes first."""
    return pl.col("severity").cast(pl.String).cast(pl.Enum(SEVERITIES))


def dtypes(table: str) -> dict[str, pl.DataType]:
    """Return the polars type of every column of a table, in canonical order."""
    return {name: column.dtype for name, column in TABLES[table].columns().items()}


def headers(table: str) -> dict[str, str]:
    """Return the Chinese header of every column of a table, in canonical order."""
    return {name: (column.metadata or {})["header"] for name, column in TABLES[table].columns().items()}


def empty(table: str) -> pl.DataFrame:
    """Return the table without rows."""
    return pl.DataFrame(schema=dtypes(table))
