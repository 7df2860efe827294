"""Rows as CSV."""

import csv
import io

import pytest

from gateway.api.spreadsheet import csv_text


def test_what_is_written_is_read_back() -> None:
    """Commas, quotes and line ends in a text do not end its cell; None is an empty one."""
    text = csv_text(("a", "b"), [('x,"y"', None), ("line\nend", 1.5)])
    assert list(csv.reader(io.StringIO(text))) == [["a", "b"], ['x,"y"', ""], ["line\nend", "1.5"]]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx"])
def test_no_text_is_a_formula(text: str) -> None:
    """A name that a spreadsheet would take for a formula gets an apostrophe in front; numbers do not."""
    assert list(csv.reader(io.StringIO(csv_text(("a", "b"), [(text, -1)]), newline=""))) == [
        ["a", "b"],
        [f"'{text}", "-1"],
    ]
