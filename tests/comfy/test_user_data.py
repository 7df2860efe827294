"""User data: the names that files can have, and the lists in the shapes of both recorded versions."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.table import query_values, read
from gateway.comfy.user_data import (
    ListQuery,
    UserFile,
    as_json,
    as_object,
    canonical,
    content_type,
    entries,
    file_info,
    folder,
    folders_of,
    in_milliseconds,
    listed,
    settings_file,
    settings_in,
)
from gateway.errors import GatewayError, InvalidRequest

Exchanges = dict[str, dict[str, Any]]

TREE = tuple(
    UserFile(path, size=len(path), created=1.25, modified=2.5)
    for path in (".hid/x.json", "a.json", "workflows/.index.json", "workflows/b.json", "workflows/sub/A.json")
)
OCTETS = "application/octet-stream"
PIECES = st.sampled_from(
    ["..", ".", "", "a", "b.json", "\\", "%2e%2e", "%2F", "%", " ", "\x00", "ü", "\ud800", "x" * 255]
)
PATHS = st.one_of(st.text(), st.lists(PIECES, max_size=6).map("/".join))


def query(**values: str) -> ListQuery:
    return ListQuery.read({"dir": ".", **values})


def below(directory: str) -> list[UserFile]:
    return [file for file in TREE if file.path.startswith(f"{directory}/" if directory else "")]


@pytest.mark.parametrize("path", ["workflows/a.json", ".index.json", "a b.json", "你好/ü.json", "100%.json", "a...b"])
def test_names_that_can_be_had(path: str) -> None:
    """A path of ordinary segments is its own canonical form."""
    assert canonical(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "a//b",
        "a/",
        "..",
        "../b",
        "a/../b",
        "a/./b",
        ". .",
        "..\\b",
        "a\\b",
        "a\x00",
        "a\nb",
        "a\u2028",
        "%2e%2e/b",
        "a%2Fb",
        "\udc80",
        "x" * 256,
        "ü" * 128,
        "/".join(["x" * 200] * 6),
    ],
)
def test_P12_names_that_cannot_be_had(path: str) -> None:
    """P12: what leads elsewhere, could be read in two ways, or fits no disk is refused."""
    with pytest.raises(InvalidRequest):
        canonical(path)


@given(PATHS)
def test_a_canonical_path_stays_below(path: str) -> None:
    """Whatever the string: it is refused, or it has no empty, dot or absolute part and only one spelling."""
    try:
        assert canonical(path) == path
    except InvalidRequest:
        return
    assert path and len(path.encode()) <= 1024
    assert all(segment.strip(" .") and len(segment.encode()) <= 255 for segment in path.split("/"))
    assert not set(path) & {"\\", *map(chr, range(32))}


@given(PATHS)
def test_a_folder_stays_below(path: str) -> None:
    """A folder is refused, or it is the user's own or a canonical path below, and naming it again changes nothing."""
    try:
        found = folder(path)
    except InvalidRequest:
        return
    assert found == "" or canonical(found) == found
    assert folder(found) == found


@given(st.binary(max_size=40))
def test_no_address_leads_out(name: bytes) -> None:
    """I20 I21: of every address that the table lets through, the file is canonical or refused."""
    try:
        call = read("POST", b"/userdata/" + name + b"/move/" + name, b"")
    except GatewayError:
        return
    for parameter in call.params.values():
        try:
            canonical(parameter)
        except InvalidRequest:
            continue
        assert ".." not in parameter.split("/") and not parameter.startswith("/")


@pytest.mark.parametrize(
    ("path", "expected"),
    [(".", ""), ("./", ""), ("workflows/", "workflows"), ("./a//b/.", "a/b"), ("a/.hid", "a/.hid")],
)
def test_folders_are_read_as_comfyui_reads_them(path: str, expected: str) -> None:
    """Dots and slashes too many mean nothing in a directory."""
    assert folder(path) == expected


@pytest.mark.parametrize("path", ["..", "/", "/workflows", "a/../b", "workflows/..", "a\\b", "%2e%2e"])
def test_folders_elsewhere_are_refused(path: str) -> None:
    """Nothing leads up or to the root of a disk."""
    with pytest.raises(InvalidRequest):
        folder(path)


def test_folders_of_a_file() -> None:
    """Every folder above a file, but not the user's own."""
    assert folders_of("a/b/c.json") == ["a", "a/b"]
    assert folders_of("c.json") == []


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        *((old, False) for old in ("0.3.64", "v0.3.64", "0.3")),
        *((new, True) for new in ("0.4.0", "0.28.1", "1.0", "newest", "", "0.x")),
    ],
)
def test_which_versions_count_milliseconds(version: str, expected: bool) -> None:
    """0.3.64 gives fractional seconds and 0.28.1 whole milliseconds; a version that cannot be read is a new one."""
    assert in_milliseconds(version) is expected


def test_recorded_file_infos(exchanges: Exchanges, version: str) -> None:
    """The recorded answers of POST, move and the list come out again, times in the unit of the version."""
    unit = 1000 if in_milliseconds(version) else 1
    for name in ("userdata.post", "userdata.move", "userdata.list"):
        body = exchanges[name]["body"]["json"]
        told = body[0] if isinstance(body, list) else body
        path = f"workflows/{told['path']}" if isinstance(body, list) else told["path"]
        file = UserFile(path, told["size"], told["created"] / unit, told["modified"] / unit)
        if isinstance(body, list):
            values = query_values(exchanges[name]["request"]["path"].partition("?")[2].encode())
            again: Any = listed([file], ListQuery.read(values), version=version)
        else:
            again = file_info(file, version=version)
        assert again == body
        assert [type(value) for value in told.values()] == [str, int, *([int if unit == 1000 else float] * 2)]


def test_recorded_entries(exchanges: Exchanges) -> None:
    """The recorded answer of /v2/userdata comes out again: fractional seconds in both versions."""
    (told,) = exchanges["userdata.v2"]["body"]["json"]
    file = UserFile(told["path"], told["size"], created=1.0, modified=told["modified"])
    assert entries([file], "workflows") == [told]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ["a.json"]),
        ({"recurse": "true"}, ["a.json", "workflows/b.json", "workflows/sub/A.json"]),
        ({"recurse": "yes"}, ["a.json"]),
        ({"dir": "workflows"}, ["b.json"]),
        ({"dir": "workflows/", "recurse": "TRUE"}, ["b.json", "sub/A.json"]),
        ({"dir": "workflows", "split": "true"}, [["b.json", "b.json"]]),
        (
            {"dir": "workflows", "split": "true", "recurse": "true"},
            [["b.json", "b.json"], ["sub/A.json", "sub", "A.json"]],
        ),
        ({"dir": ".hid"}, ["x.json"]),
    ],
)
def test_lists_of_names(values: dict[str, str], expected: list[Any]) -> None:
    """Names relative to the directory, whole or split; hidden ones only if their own directory is asked for."""
    asked = query(**values)
    assert listed(below(asked.directory), asked, version="0.28.1") == expected


def test_full_info_wins_over_split() -> None:
    """With `full_info` nothing is split."""
    asked = query(dir="workflows", full_info="true", split="true")
    expected = [{"path": "b.json", "size": 16, "modified": 2500, "created": 1250}]
    assert listed(below("workflows"), asked, version="0.28.1") == expected


def test_entries_are_folders_first() -> None:
    """/v2/userdata lists everything below, hidden names too: folders first, then by name in any case."""
    told = [(entry["type"], entry["path"]) for entry in entries(TREE, "")]
    assert told == [
        ("directory", ".hid"),
        ("directory", "workflows/sub"),
        ("directory", "workflows"),
        ("file", "workflows/.index.json"),
        ("file", "a.json"),
        ("file", "workflows/sub/A.json"),
        ("file", "workflows/b.json"),
        ("file", ".hid/x.json"),
    ]
    assert [entry["path"] for entry in entries(below("workflows"), "workflows")][:1] == ["workflows/sub"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.json", "application/json"),
        ("user.css", "text/css"),
        ("a.PNG", "image/png"),
        ("notes.txt", "text/plain"),
        *((f"a.{ending}", OCTETS) for ending in ("html", "htm", "xhtml", "svg", "xml", "js", "mjs", "mht", "pdf")),
        *((path, OCTETS) for path in ("a.css.html", "json", "a.json/b", "a.", ".json.")),
    ],
)
def test_X02_X03_types_that_run_nothing(path: str, expected: str) -> None:
    """X02 X03: only listed, harmless types are named; everything else is octets."""
    assert content_type(path) == expected


def test_settings_are_a_file() -> None:
    """Settings come back from their file; a file that holds none is no settings, as in ComfyUI."""
    settings = {"Comfy.A": [1, {"b": None}], "ü": "x"}
    assert settings_in(settings_file(settings)) == settings
    for content in (None, b"", b"[]", b"{", b"nonsense", b"[" * 2000, b"\xff"):
        assert settings_in(content) == {}


@pytest.mark.parametrize(
    "body", [b"", b"x", b"NaN", b'{"a": Infinity}', b'"\\ud800"', b"[" * 300 + b"]" * 300, b"\xff"]
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Nothing is taken that could not be given back."""
    for read_as in (as_json, as_object):
        with pytest.raises(InvalidRequest):
            read_as(body)


@pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"x"'])
def test_settings_must_be_an_object(body: bytes) -> None:
    """Any JSON is a setting's value, but several settings are an object."""
    as_json(body)
    with pytest.raises(InvalidRequest):
        as_object(body)
