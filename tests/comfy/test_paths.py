"""Paths: what has one reading is read, everything else is refused before anything is decided."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from gateway.comfy.paths import MAX_TARGET, canonical, split_token
from gateway.errors import AddressTooLong, InvalidRequest

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
RESERVED_BUT_PLAIN = "!$&'()*+,:=@"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/", "/"),
        (b"/prompt", "/prompt"),
        (b"/api/prompt", "/api/prompt"),
        (b"/%61pi/prompt", "/api/prompt"),
        (b"/%70rompt", "/prompt"),
        (b"/pr%6Fmpt", "/prompt"),
        (b"/pr%6fmpt", "/prompt"),
        (b"/%77s", "/ws"),
        (b"/%69nternal/logs", "/internal/logs"),
        (b"/docs/", "/docs/"),
        (b"/extensions/core/a.b.js", "/extensions/core/a.b.js"),
        (b"/extensions/.hidden/a", "/extensions/.hidden/a"),
        (b"/docs/Video%20Slice/en.md", "/docs/Video Slice/en.md"),
        (b"/userdata/workflows%2Fa.json", "/userdata/workflows%2Fa.json"),
        (b"/userdata/workflows%2fa.json", "/userdata/workflows%2Fa.json"),
        (b"/userdata/100%25.json", "/userdata/100%.json"),
        (b"/userdata/100%25%20done.json", "/userdata/100% done.json"),
        (b"/userdata/%E4%BD%A0%E5%A5%BD.json", "/userdata/你好.json"),
        (b"/userdata/a...b", "/userdata/a...b"),
    ],
)
def test_one_reading(raw: bytes, path: str) -> None:
    """P04, P11: every spelling is read as ComfyUI's router reads it, an encoded slash staying in its segment."""
    assert canonical(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        # P02, P03: empty segments
        b"//prompt",
        b"/api//prompt",
        b"//api/prompt",
        b"/prompt//",
        b"//",
        # P05: path parameters
        b"/api/..;/prompt",
        b"/prompt;x=1",
        b"/prompt;/",
        # P06, P07, P08: dot segments in any spelling
        b"/.",
        b"/..",
        b"/./queue",
        b"/api/./queue",
        b"/docs/../prompt",
        b"/assets/../../internal/logs",
        b"/docs/%2e%2e/prompt",
        b"/docs/%2E%2e/prompt",
        b"/docs/.%2e/prompt",
        b"/%2e/queue",
        b"/queue/.",
        b"/queue/..",
        b"/a/...",
        b"/a/%20/b",
        b"/a/..%20/b",
        # P09: escapes inside escapes
        b"/docs/%252e%252e/prompt",
        b"/userdata/a%252fb",
        b"/userdata/a%25252fb",
        b"/userdata/50%2520.json",
        # P12: the same inside one segment
        b"/userdata/..%2f..%2fx",
        b"/userdata/%2e%2e%2f",
        b"/userdata/a%2f..%2fb",
        b"/userdata/%2fetc%2fpasswd",
        b"/userdata/a%2f%2fb",
        b"/userdata/a%2f",
        b"/userdata/..%5cx",
        b"/userdata/a%00",
        # P13: control characters
        b"/prompt%00",
        b"/prompt%0a",
        b"/prompt%0d%0aX:1",
        b"/prompt%7f",
        b"/prompt\x00",
        b"/prompt\n",
        b"/prompt%C2%85",
        b"/prompt%E2%80%A8",
        # P15, P16: fragments and backslashes
        b"/prompt#x",
        b"\\prompt",
        b"/api\\prompt",
        b"/api%5cprompt",
        b"/prompt?x",
        # P19, P24, P25
        b"http://evil/prompt",
        b"prompt",
        b"",
        b"*",
        b"@evil.com/x",
        "/é".encode(),
        b"/ prompt",
        b"/%ff%fe",
        b"/%c0%af",
        b"/%ed%a0%80",
        b"/%",
        b"/%f",
        b"/%zz",
        b"/%2",
        b"/a%2%66b",
    ],
)
def test_ambiguous_is_refused(raw: bytes) -> None:
    """P02-P25: whatever two readers could take differently is 400, before anything is decided."""
    with pytest.raises(InvalidRequest) as refusal:
        canonical(raw)
    assert refusal.value.status == 400


def test_long_address() -> None:
    """P26: a path of 8 KiB and one byte is 414, one of 8 KiB is read."""
    assert len(canonical(b"/" + b"a" * (MAX_TARGET - 1))) == MAX_TARGET
    with pytest.raises(AddressTooLong) as refusal:
        canonical(b"/" + b"a" * MAX_TARGET)
    assert refusal.value.status == 414


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/path/%61%62c", "/path/abc"),
        (b"/path/%41%5A", "/path/AZ"),
        (b"/p%41th", "/pAth"),
        (b"/path/%7E%2D%5F%2E", "/path/~-_."),
    ],
)
def test_unreserved_escapes_decode(raw: bytes, path: str) -> None:
    """P33: escapes of unreserved characters mean the characters."""
    assert canonical(raw) == path


@pytest.mark.parametrize("character", UNRESERVED)
def test_every_unreserved_character(character: str) -> None:
    """P33: each of the 66 unreserved characters reads the same encoded, in either case, and plain."""
    escape = f"%{ord(character):02x}"
    expected = f"/x{character}y"
    assert canonical(f"/x{character}y".encode()) == expected
    assert canonical(f"/x{escape}y".encode()) == expected
    assert canonical(f"/x{escape.upper()}y".encode()) == expected


@pytest.mark.parametrize("character", RESERVED_BUT_PLAIN)
def test_sub_delimiters_are_text(character: str) -> None:
    """P33: reserved characters that separate nothing in a path read the same encoded and plain."""
    assert canonical(f"/x{character}y".encode()) == f"/x{character}y"
    assert canonical(f"/x%{ord(character):02X}y".encode()) == f"/x{character}y"


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (b"/b", "/b"),
        (b"/b/", "/b/"),
        (b"/../../b", None),
        (b"/../../b/", None),
        (b"/../../b/..", None),
        (b"/a/../b", None),
        (b"/a/../b/", None),
        (b"/a/./b", None),
        (b"/a/./b/", None),
        (b"/a/.../b", None),
        (b"/a//b", None),
        (b"/a//b/", None),
        (b"/a/b//", None),
        (b"/../../", None),
        (b"/.", None),
        (b"./a", None),
    ],
)
def test_nothing_is_sanitised(raw: bytes, clean: str | None) -> None:
    """P33: a path that another proxy would clean up is refused, never rewritten."""
    if clean is not None:
        assert canonical(raw) == clean
        return
    with pytest.raises(InvalidRequest):
        canonical(raw)


@pytest.mark.parametrize("escape", ["%2f", "%5c", "%00", "%3b", "%25", "%3f", "%23"])
def test_encoded_delimiters_never_delimit(escape: str) -> None:
    """P14, P33: an encoded delimiter is refused or stays text; it never ends a path or a segment."""
    raw = f"/prompt{escape}x".encode()
    try:
        path = canonical(raw)
    except InvalidRequest:
        return
    assert path != "/prompt"
    assert path.count("/") == 1


FRAGMENTS = st.sampled_from(
    [
        "/",
        "//",
        ".",
        "..",
        "%2e",
        "%2E",
        "%2f",
        "%2F",
        "%25",
        "%252e",
        "%5c",
        "%00",
        "%",
        ";",
        "?",
        "#",
        "\\",
        "%20",
        "api",
        "prompt",
        "%70",
        "é",
        "%C3%A9",
        "%ff",
        "~",
        "+",
        "%2B",
        ":",
        "@",
        "{",
        "}",
        "|",
        "[",
        "a.json",
        "%E2%80%A8",
    ]
)


@given(st.lists(FRAGMENTS, max_size=12).map(lambda parts: "/" + "".join(parts)))
@example("/a%25")
def test_reading_equals_the_routers(target: str) -> None:
    """P32: for any target the canonical path is the one that ComfyUI's router matches on, or the target is refused."""
    raw = target.encode()
    try:
        path = canonical(raw)
    except InvalidRequest:
        return
    routed = URL.build(path=raw.decode("ascii"), encoded=True).path_safe
    # The router also keeps an encoded percent sign as it is; here it is text, since nothing decodes it a second time.
    assert routed.replace("%25", "%") == path


@given(st.lists(FRAGMENTS, max_size=12).map(lambda parts: "/" + "".join(parts)))
def test_nothing_climbs(target: str) -> None:
    """P07, P12: a path that was read has no empty and no dot segment, whichever kind of slash one splits at."""
    try:
        path = canonical(target.encode())
    except InvalidRequest:
        return
    segments = path.replace("%2F", "/").split("/")[1:]
    if path.endswith("/"):
        segments.pop()
    assert all(segment.strip(" .") for segment in segments)
    assert "\\" not in path


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    """E16: no bytes make the reader fail in another way than by a refusal."""
    with suppress(InvalidRequest):
        assert canonical(b"/" + raw).startswith("/")


@pytest.mark.parametrize(
    ("raw", "token", "rest"),
    [
        (b"/gateway/t/cgw_a_b/prompt", "cgw_a_b", b"/prompt"),
        (b"/gateway/t/cgw_a_b/", "cgw_a_b", b"/"),
        (b"/gateway/t/cgw_a_b", "cgw_a_b", b""),
        (b"/gateway/t/cgw_a_b/userdata/a%2Fb.json", "cgw_a_b", b"/userdata/a%2Fb.json"),
        (b"/gateway/t//prompt", "", b"/prompt"),
        (b"/gateway/t/x/gateway/t/y/prompt", "x", b"/gateway/t/y/prompt"),
        (b"/gateway/login", None, b"/gateway/login"),
        (b"/prompt", None, b"/prompt"),
        (b"//gateway/t/x/prompt", None, b"//gateway/t/x/prompt"),
        (b"/%67ateway/t/x/prompt", None, b"/%67ateway/t/x/prompt"),
    ],
)
def test_path_token(raw: bytes, token: str | None, rest: bytes) -> None:
    """Contract "Credentials" 1: `/gateway/t/<token>/rest` is the token and `/rest`; the rest stays byte for byte."""
    assert split_token(raw) == (token, rest)
