"""A GatewayError as an HTTP answer in the contract's shape. It does not know which request it answers, nor over which
protocol.
"""

import secrets
from dataclasses import dataclass
from http import HTTPStatus

import orjson

from gateway.errors import GatewayError

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """What is sent: the header names are lower case, the body is JSON."""

    status: int
    headers: Headers
    body: bytes


def mint_request_id() -> str:
    """A new request id, 16 hexadecimal digits."""
    return secrets.token_hex(8)


def answer_to(error: GatewayError, request_id: str) -> ErrorAnswer:
    """The answer to a refusal; the error's own headers come last, except that it cannot change the framing."""
    body = orjson.dumps(error.body(request_id))
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
    ]
    own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in error.headers.items()]
    return ErrorAnswer(error.status, headers + own, body)


def raw_answer_to(error: GatewayError, request_id: str) -> bytes:
    """The same as bytes for a connection that is closed behind it, where no application has been asked."""
    answer = answer_to(error, request_id)
    start = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode("ascii")
    headers = [*answer.headers, (b"x-request-id", request_id.encode("ascii")), (b"connection", b"close")]
    return b"\r\n".join([start, *(b"%b: %b" % field for field in headers), b"", answer.body])
