"""Which refused requests are a person who opened a page and has to log in. It does not know whether the login page
exists.

Everything else gets a 401 that a program can read: a redirect would look like success to a script and to a websocket.
"""

from collections.abc import Iterable
from urllib.parse import quote

from starlette.types import Scope

LOGIN = "/gateway/login"


def is_navigation(*, method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether an address bar or a link asked. Browsers without `Sec-Fetch-*` are known by asking for HTML."""
    fields = dict(headers)
    if method != "GET" or b"text/html" not in fields.get(b"accept", b"").lower():
        return False
    if any(name.startswith(b"sec-fetch-") for name in fields):
        return (
            fields.get(b"sec-fetch-mode") == b"navigate" and fields.get(b"sec-fetch-dest", b"document") == b"document"
        )
    return fields.get(b"x-requested-with") is None


def is_person(scope: Scope) -> bool:
    """Whether a refused request can be sent to the login page: its only credential, if any, is a cookie."""
    if scope["type"] != "http" or scope["gateway"]["carried"]:
        return False
    return is_navigation(method=scope["method"], headers=scope["headers"])


def login_address(*, raw_path: bytes, query: bytes) -> str:
    """The login page, with the way back to where one was going."""
    here = raw_path + (b"?" + query if query else b"")
    return f"{LOGIN}?next={quote(here, safe='/')}"
