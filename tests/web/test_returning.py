"""Where a login may lead."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.web.returning import HOME, local_path

EVIL = "evil.example"

SLASHES = [
    "//",
    "///",
    "/\\",
    "\\/",
    "\\\\",
    "\\",
    "/\t/",
    "/\n/",
    "/\r\n/",
    "\t//",
    " //",
    "/ /",
    "/\x0b/",
    "/\x00/",
    "/./",
    "/../",
]
ENCODED = [
    "/%2f",
    "/%2F",
    "%2f%2f",
    "/%5c",
    "/%5C",
    "%5c%5c",
    "/%09/",
    "/%0a/",
    "/%0d%0a/",
    "/%00/",
    "/%20/",
    "/%2e/",
    "/%2e%2e/",
]
TWICE = ["/%252f", "/%255c", "/%25252f", "/%252e%252e/", "/%2509/", "/%250a/", "/%25%32%66"]
SCHEMES = [
    "http:",
    "https:",
    "HtTp:",
    "javascript:",
    "data:",
    "ftp:",
    "file:",
    "blob:",
    "vbscript:",
    "ws:",
    ":",
    "http:\\\\",
    "https:///",
]
AUTHORITIES = ["/@", "/;@", "/:@", "//user@", "//user:pass@", "/x:80@", "/#@", "/?#@", "/%40", "/a@b:"]
UNICODE = [
    "/\u2044",
    "/\uff0f",
    "/\u29f8",
    "/\u3002",
    "/\u00a0/",
    "/\u2028/",
    "/\ufeff/",
    "/%ef%bc%8f",
    "/%e2%81%84",
    "/%c0%af",
    "/%e3%80%82",
]
WHOLE = [
    "javascript:alert(1)",
    "/javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "/%0d%0aSet-Cookie:%20a=b",
    "/\r\nLocation: https://evil.example",
    "/x\r\nSet-Cookie: a=b",
    "/%",
    "/%2",
    "/%zz",
    "/a%2",
    "evil.example",
    "evil.example/",
    "./evil.example",
    "../evil.example",
    "?next=//evil.example",
    "#//evil.example",
    "/#//evil.example",
    "/?url=//evil.example&next=/\\evil.example",
    "/?next=https://evil.example",
    "/?a=%2f%2fevil.example",
    "/a//evil.example",
    "/a/..//evil.example",
    "/a/../\\evil.example",
    "/.%2f/evil.example",
    "/..;/evil.example",
    "/;/evil.example",
    "/<script>alert(1)</script>",
    '/"onmouseover="alert(1)',
    "/'onmouseover='alert(1)",
    "/\x7f/evil.example",
    "/\u202eevil.example",
    "/gateway/login",
    "/gateway/login?next=/gateway/login",
    "/gateway/logout",
    "/gateway/t/cgw_x/",
    "/" + "a" * 3000,
    "",
    " ",
    " /",
    "/ ",
    "\t/",
    "null",
    "undefined",
    "0",
]
ATTACKS = sorted(
    {start + EVIL for start in (*SLASHES, *ENCODED, *TWICE, *SCHEMES, *AUTHORITIES, *UNICODE)}
    | {start + end + EVIL for start, end in product(SCHEMES, ("/", "//", "\\\\"))}
    | {f"/x{middle}{EVIL}" for middle in (*SLASHES, *TWICE)}
    | set(WHOLE)
)


def test_C11_there_are_many() -> None:
    """The list is long, and every string is another one."""
    assert len(ATTACKS) >= 100


@pytest.mark.parametrize("attack", ATTACKS)
def test_C11_open_redirects(attack: str) -> None:
    """Whatever could lead to another host, or break out of the header, leads home."""
    assert local_path(attack) == HOME


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/view?filename=a.png&subfolder=x&type=output",
        "/view?filename=a%20b.png&subfolder=x%2Fy",
        "/gateway/",
        "/gateway/docs",
        "/userdata/workflows%2Fa.json",
        "/extensions/core/a.js",
        "/?workflow=a_b-c~1",
        "/a/b/c/",
        "/api/jobs?status=completed,failed&limit=10",
    ],
)
def test_our_own_addresses(address: str) -> None:
    """An address of our own is where one comes back to."""
    assert local_path(address) == address


def test_nothing_leads_home() -> None:
    """Without `next` one comes to the editor."""
    assert local_path(None) == HOME


@given(st.text(alphabet=st.sampled_from("/\\%.:@?#;ab2fF5cC09e \t\r\n\u2044")))
def test_C11_whatever_is_let_through_is_a_plain_path(text: str) -> None:
    """What is let through starts with one slash, and is plain ASCII without anything that a browser turns into one."""
    found = local_path(text)
    assert found.startswith("/") and not found.startswith("//")
    assert found.isascii() and found.isprintable() and "\\" not in found and "#" not in found
