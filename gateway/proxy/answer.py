"""What a handler of our own answers is given, and what it gives back: two values, and a way to send the second.

It does not know which handlers there are.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.types import Receive, Send

from gateway.comfy.table import Call, query_values
from gateway.identity.principal import Principal
from gateway.proxy.body import RequestBody

Header = tuple[bytes, bytes]

JSON_TYPE: Header = (b"content-type", b"application/json; charset=utf-8")
OURS: tuple[Header, ...] = (
    (b"cache-control", b"private, no-cache"),
    (b"vary", b"Authorization, X-API-Key, Cookie"),
    (b"x-content-type-options", b"nosniff"),
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the gateway answers itself: what, by whom, with which headers (names in lower case)."""

    call: Call
    principal: Principal
    headers: Sequence[Header]
    receive: Receive

    def query(self) -> dict[str, str]:
        """The query's parameters. Raises InvalidRequest for duplicates and bad escapes."""
        return query_values(self.call.query)

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header, by its name in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    async def body(self, limit: int) -> bytes:
        """The whole body, once. Raises TooLarge over `limit` bytes, ClientLeftError when the client is gone."""
        return await RequestBody(self.headers, self.receive, limit=limit).whole()


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of the gateway's own. `headers` are added to the framing; names in lower case."""

    status: int
    body: bytes = b""
    headers: tuple[Header, ...] = ()


Answer = Callable[[Asked], Awaitable[Answered]]
Answers = Mapping[str, Answer]


def json_answer(value: Any, status: int = 200, headers: tuple[Header, ...] = ()) -> Answered:
    """`value` as JSON. A number that orjson cannot hold (a seed over 64 bits) is written by the standard library."""
    try:
        body = orjson.dumps(value)
    except TypeError:
        body = json.dumps(value, allow_nan=False, separators=(",", ":")).encode()
    return Answered(status, body, (JSON_TYPE, *headers))


async def send_answer(answered: Answered, send: Send, *, with_body: bool = True) -> None:
    """Send it whole; `with_body` is False for HEAD, which gets the headers of the body that it does not get."""
    named = {name for name, _ in answered.headers}
    headers = [*answered.headers, *(header for header in OURS if header[0] not in named)]
    if answered.status not in (204, 304):
        headers.append((b"content-length", str(len(answered.body)).encode()))
    await send({"type": "http.response.start", "status": answered.status, "headers": headers})
    await send({"type": "http.response.body", "body": answered.body if with_body else b""})
