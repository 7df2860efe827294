"""Rows as CSV, for spreadsheets and scripts. It does not know what is in them.

A spreadsheet takes a text that begins like a formula for one, and users choose names: such a text gets an apostrophe
in front, which spreadsheets do not show.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def csv_text(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """One line for each row below the heads, as RFC 4180 has it; None is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(heads)
    writer.writerows([_cell(cell) for cell in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
