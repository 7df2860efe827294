"""Which refused requests are sent to the login page."""

import pytest

from gateway.edge.navigation import is_navigation, login_address

HTML = (b"accept", b"text/html,application/xhtml+xml,*/*;q=0.8")


@pytest.mark.parametrize(
    ("method", "headers", "expected"),
    [
        ("GET", [HTML, (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"document")], True),
        ("GET", [HTML, (b"sec-fetch-mode", b"navigate")], True),
        ("GET", [HTML], True),
        ("GET", [HTML, (b"sec-fetch-mode", b"cors"), (b"sec-fetch-dest", b"empty")], False),
        ("GET", [HTML, (b"sec-fetch-mode", b"navigate"), (b"sec-fetch-dest", b"iframe")], False),
        ("GET", [HTML, (b"sec-fetch-site", b"same-origin")], False),
        ("GET", [HTML, (b"x-requested-with", b"XMLHttpRequest")], False),
        ("GET", [(b"accept", b"*/*")], False),
        ("GET", [(b"accept", b"application/json")], False),
        ("GET", [], False),
        ("POST", [HTML], False),
        ("HEAD", [HTML], False),
    ],
)
def test_people_and_programs(method: str, headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    """A person who opens a page is a GET of a document; everything else is a program that wants a status."""
    assert is_navigation(method=method, headers=headers) is expected


def test_the_way_back() -> None:
    """The login page learns where one was going, and nothing in that can end the parameter or the header."""
    assert login_address(raw_path=b"/", query=b"") == "/gateway/login?next=/"
    assert (
        login_address(raw_path=b"/view", query=b"a=1&b=2#\r\n") == "/gateway/login?next=/view%3Fa%3D1%26b%3D2%23%0D%0A"
    )
