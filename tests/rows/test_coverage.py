"""The list of attacks against the tests: no row is lost silently."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent.parent


def _ids(letter: str, numbers: str) -> list[str]:
    return [f"{letter}{int(number):02d}" for number in numbers.split()]


ROWS = {
    "paths and request lines": _ids(
        "P", "1 2 3 4 5 6 7 8 9 11 12 13 14 15 16 17 18 19 21 22 23 24 25 26 27 29 30 31 32 33 34"
    ),
    "headers": _ids("H", "1 2 3 4 5 7 8 9 10 11 12 13 14 15 16 18 19 20 21 22 23 24 26"),
    "framing": _ids("S", "1 2 3 4 5 6 7 8 9 10 12 13 14 15 16 18 19 20 21 23 24 25"),
    "tokens and accounts": _ids("T", "1 2 3 4 5 6 7 8 9 10 12 14 15 17 18 19 20 21 22 23 24 25 26 27 28 29 30"),
    "prompts": _ids("D", "1 2 3 4 5 6 7 9 10 11 12"),
    "rates": _ids("R", "1 2 3 4 5 6 7 9 10 11 12 13 14"),
}
"""The rows that concern one gateway in front of one ComfyUI."""

NOT_YET = {
    "S24": "it names a program from elsewhere; until there is a tool of our own, S25 mutates requests in its place",
    "R10": "the counters are in this process's memory, which is never down; their sharing comes with Redis",
    "R13": "there is one gateway; a second one comes with Redis",
    "T26": "there is one gateway; a second one comes with Redis",
}
"""Rows without a test, and what they wait for."""

TOGETHER = re.compile(r"test((?:_[A-Z]\d{2})+)_")


def _tests() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield path, node


def _rows_of(name: str) -> list[str]:
    found = TOGETHER.match(f"{name}_")
    return [] if found is None else found[1].strip("_").split("_")


def test_every_row_has_a_test() -> None:
    """Each row is the id in the name of some test, or says what it waits for; never both."""
    tested = {row for _, test in _tests() for row in _rows_of(test.name)}
    rows = {row for ids in ROWS.values() for row in ids}
    assert sorted(rows - tested) == sorted(NOT_YET)


def test_every_row_runs_through_nginx_too() -> None:
    """Each row of paths, headers and framing has a test that runs straight and through nginx."""
    both_ways = {
        row
        for path, test in _tests()
        if path.parent == Path(__file__).parent and "front" in {argument.arg for argument in test.args.args}
        for row in _rows_of(test.name)
    }
    wanted = {row for area in ("paths and request lines", "headers", "framing") for row in ROWS[area]}
    assert wanted - both_ways == wanted & NOT_YET.keys()


def test_every_test_of_a_row_says_what_it_expects() -> None:
    """The docstring of a row's test is the sentence that it proves."""
    assert [test.name for _, test in _tests() if _rows_of(test.name) and not ast.get_docstring(test)] == []
