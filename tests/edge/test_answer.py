"""Refusals as answers."""

import orjson

from gateway.edge.answer import answer_to, mint_request_id, raw_answer_to
from gateway.errors import LockedOut, NotFound


def test_the_contracts_shape() -> None:
    """A refusal is JSON with type, message, details, extra_info, node_errors and the request id."""
    answer = answer_to(NotFound("No.", details="Look elsewhere.", extra_info={"a": 1}, reason="secret"), "id")
    error = {"type": "not_found", "message": "No.", "details": "Look elsewhere.", "extra_info": {"a": 1}}
    assert orjson.loads(answer.body) == {"error": error, "node_errors": {}, "request_id": "id"}
    headers = dict(answer.headers)
    assert (answer.status, headers[b"content-type"]) == (404, b"application/json")
    assert headers[b"content-length"] == b"%d" % len(answer.body)
    assert b"secret" not in answer.body


def test_headers_of_the_error() -> None:
    """What the error says in headers is sent."""
    assert (b"retry-after", b"5") in answer_to(LockedOut("No.", headers={"Retry-After": "5"}), "id").headers


def test_the_same_as_bytes() -> None:
    """Below any application the answer is the same, with the id, and says that the connection closes."""
    head, _, body = raw_answer_to(NotFound("No."), "id").partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"HTTP/1.1 404 Not Found"
    assert {b"x-request-id: id", b"connection: close", b"content-length: %d" % len(body)} <= set(lines)
    assert orjson.loads(body)["request_id"] == "id"


def test_request_ids() -> None:
    """Ids are sixteen digits, and each is another one."""
    ids = {mint_request_id() for _ in range(1000)}
    assert len(ids) == 1000 and all(len(name) == 16 and name.isalnum() for name in ids)
