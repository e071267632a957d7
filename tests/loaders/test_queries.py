"""Which queries may be sent to a database: an auditor's usual ones, and none that does more than read."""

from __future__ import annotations

import pytest

from audit_kit.core.errors import SourceError
from audit_kit.loaders.tables.queries import checked

USUAL = [
    (
        "postgresql",
        "select number::text, to_char(at,'YYYY-MM-DD'), coalesce(a,0)::numeric(18,2) from s.t where at < now()",
    ),
    (
        "postgresql",
        "with a as (select *, row_number() over (partition by x order by y) rn from t) select * from a where rn=1",
    ),
    ("postgresql", "select lock, \"set\", 'drop; delete' as remark from t union all select 1, 2, $$it's$$"),
    (
        "postgresql",
        "select regexp_replace(a,'\\s','','g'), substring(a from 1 for 3), extract(epoch from b), data->>'n' from t",
    ),
    (
        "mysql",
        "select `lock`, date_format(d,'%Y-%m-%d'), ifnull(a,0), concat(a,b), group_concat(a separator ',') from t",
    ),
    ("oracle", "select nvl(a,0), to_char(d,'YYYY-MM'), decode(a,1,'x','y'), trunc(d,'MM') from t where rownum <= 5"),
    ("mssql", "select top 10 [set], isnull(a,0), convert(varchar(20), d, 120), len(a) from dbo.t with (nolock)"),
    ("sqlite", "select strftime('%Y-%m', 开票日期), printf('%020d', n), total(b) from inv where a glob 'x*'"),
]
HOSTILE = [
    ("mysql", "select 1 /*! into outfile '/tmp/x' */"),
    ("mysql", "select 1 into outfile '/tmp/x'"),
    ("mysql", "select load_file('/etc/passwd')"),
    ("mysql", "select 'a\\' or load_file(1) -- '"),
    ("mysql", "select authentication_string from mysql.user"),
    ("mysql", "select sleep(9)"),
    ("postgresql", "select \"pg_read_file\"('x')"),
    ("postgresql", "select 1; delete from t"),
    ("postgresql", "with gone as (delete from t returning *) select * from gone"),
    ("postgresql", "select count(*) filter (where lo_unlink(1) = 1) from t"),
    ("postgresql", "select public.upper('x')"),
    ("oracle", "select utl_http.request('http://x') from dual"),
    ("oracle", "select * from t@link"),
    ("mssql", "select 1 delete from t"),
    ("mssql", "select * from openrowset('x','y','z')"),
    ("mssql", "select * from srv.db.dbo.t"),
    ("sqlite", "select load_extension('x')"),
    ("sqlite", "select * from pragma_database_list"),
    ("sqlite", "select writefile('a','b')"),
]


@pytest.mark.parametrize(("kind", "query"), USUAL)
def test_usual_queries_are_sent_in_their_own_words(kind, query):
    assert checked(f"{query} -- why; delete\n;", kind=kind, name="x").replace(" ", "") == query.replace(" ", "")


@pytest.mark.parametrize(("kind", "query"), HOSTILE)
def test_whatever_does_more_than_read_is_refused(kind, query):
    with pytest.raises(SourceError, match="one SELECT or WITH that changes nothing"):
        checked(query, kind=kind, name="x")
