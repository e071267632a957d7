"""The blue invoice that a red one reverses, as the remark names it."""

from __future__ import annotations

import polars as pl

_HINT = r"红|正数"
_CONFIRMATION = r"确认单(?:编号|号码?)?:?[0-9]*"
_DIGITAL = r"(?:(?:蓝字|正数)?(?:数电|全电|电子)?(?:发?票|数电))?号码[:：]?([0-9]{20})(?:[^0-9]|$)"
_NUMBER = r"号码[:：]?([0-9]{8})(?:[^0-9]|$)"
_CODE = r"发票代码[:：]?([0-9]{10}(?:[0-9]{2})?)(?:[^0-9]|$)"


def red_of(remarks: pl.Series) -> pl.Series:
    """Return the key of the blue invoice: 20 digits, or code and number joined; null where none is named.

    Forms: `被红冲蓝字数电票号码：<20>`, `被红冲蓝字数电发票号码：<20>`, `对应正数发票代码:<12>号码:<8>`, and
    `被红冲蓝字发票号码：<8> 被红冲蓝字发票代码：<12>` in either order. The number of the 确认单 in the same remark
    is never taken for it.
    """
    if not remarks.str.contains(_HINT).any():
        return pl.repeat(None, len(remarks), dtype=pl.String, eager=True).alias("red_of")
    table = remarks.to_frame("remark").with_row_index("at").filter(pl.col("remark").str.contains(_HINT))
    plain = pl.col("remark").str.normalize("NFKC").str.replace_all(r"\s+", "")
    text = plain.str.replace_all(_CONFIRMATION, ";")
    found = table.select(
        "at", red_of=pl.coalesce(text.str.extract(_DIGITAL), text.str.extract(_CODE) + text.str.extract(_NUMBER))
    )
    places = remarks.to_frame("remark").with_row_index("at").select("at")
    linked: pl.Series = places.join(found, on="at", how="left", maintain_order="left")["red_of"]
    return linked
