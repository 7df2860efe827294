"""One way to the gateway, straight or through nginx, and what can be seen of a request behind it."""

import json
import select
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests.rows.odd import Odd

PATIENCE = 15.0
HOST = b"Host: gw.example"
UPGRADE = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `whole` is whether its body came to the end that its head announced."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def type(self) -> str:
        """The type of a refusal of ours, "" for any other answer."""
        with suppress(ValueError, KeyError, TypeError):
            return str(json.loads(self.body)["error"]["type"])
        return ""

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection. Every wait ends after `PATIENCE` seconds with an error."""

    def __init__(self, port: int, *, source: str = "127.0.0.1") -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=(source, 0))
        self._stream = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send, also to somebody who may have closed already."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(data)

    def reply(self, *, head: bool = False) -> Reply:
        """The next final answer; a 100 before it stands in the headers as `interim`. Raises ConnectionError."""
        line = self._line()
        if not line.startswith(b"HTTP/1."):
            raise ConnectionError(f"no answer but {line!r}")
        status, headers = int(line.split()[1]), {}
        while (text := self._line().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            final = self.reply(head=head)
            return Reply(final.status, {**final.headers, "interim": "100"}, final.body, final.whole)
        if head or status in (101, 204, 304):
            return Reply(status, headers, b"")
        return Reply(status, headers, *self._body(headers))

    def replies(self) -> list[Reply]:
        """All answers until the connection is closed from the other side."""
        found = []
        with suppress(ConnectionError):
            while True:
                found.append(self.reply())
        return found

    def is_closed(self) -> bool:
        """Whether nothing but the end comes; waits for it."""
        return self.rest() == b""

    def rest(self) -> bytes:
        """What still comes until the end."""
        with suppress(ConnectionResetError):
            return self._stream.read()
        return b""

    def is_quiet(self, seconds: float) -> bool:
        return not select.select([self._socket], [], [], seconds)[0]

    def close(self) -> None:
        self._stream.close()
        self._socket.close()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if line == b"":
            raise ConnectionError("closed")
        return line

    def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        if headers.get("transfer-encoding") == "chunked":
            return self._chunks()
        if "content-length" not in headers:
            return self.rest(), True
        length = int(headers["content-length"])
        body = b""
        with suppress(ConnectionResetError):
            body = self._stream.read(length)
        return body, len(body) == length

    def _chunks(self) -> tuple[bytes, bool]:
        body = b""
        try:
            while size := int(self._line(), 16):
                body += self._stream.read(size)
                self._line()
            self._line()
        except (ConnectionError, ValueError):
            return body, False
        return body, True


@dataclass(slots=True)
class Building:
    """The gateway's process, seen from all sides. `tokens` and `passwords` are by name of the user."""

    gateway_port: int
    data_dir: Path
    log: Path
    simulator_url: str
    odd: Odd
    tokens: dict[str, str]
    passwords: dict[str, str]
    _lines: list[dict[str, Any]] = field(default_factory=list)
    _read: int = 0

    def lines(self) -> list[dict[str, Any]]:
        """The access log until now."""
        with self.log.open("rb") as file:
            file.seek(self._read)
            data = file.read()
        complete = data[: data.rfind(b"\n") + 1]
        self._read += len(complete)
        self._lines += [json.loads(line) for line in complete.splitlines() if line.startswith(b'{"event":"request"')]
        return self._lines

    def happenings(self) -> list[dict[str, Any]]:
        """Everything that the simulated ComfyUI noted."""
        found: list[dict[str, Any]] = requests.get(f"{self.simulator_url}/_sim/log", timeout=PATIENCE).json()
        return found


@dataclass(slots=True)
class Front:
    """Where clients connect. `kind` is "direct" or "nginx"."""

    kind: str
    port: int
    house: Building

    @property
    def is_direct(self) -> bool:
        return self.kind == "direct"

    def mark(self, row: str) -> str:
        """A text that only requests of this row on this front carry."""
        return f"{row}-{self.kind}"

    @contextmanager
    def wire(self, *, source: str = "127.0.0.1", port: int | None = None) -> Iterator[Wire]:
        wire = Wire(port or self.port, source=source)
        try:
            yield wire
        finally:
            wire.close()

    def request(
        self, target: str | bytes, *lines: bytes, method: bytes = b"GET", by: str | None = "alice", row: str = ""
    ) -> bytes:
        """The head of a request of a user by token, or of a stranger."""
        target = target.encode("latin-1") if isinstance(target, str) else target
        fields = [b"%b %b HTTP/1.1" % (method, target), HOST, *lines]
        if by is not None:
            fields.append(b"X-API-Key: " + self.house.tokens[by].encode())
        if row:
            fields.append(b"X-Row: " + self.mark(row).encode())
        return b"\r\n".join([*fields, b"", b""])

    def ask(self, raw: bytes, *, source: str = "127.0.0.1", head: bool = False) -> Reply:
        """The answer to these bytes, on a connection of their own."""
        with self.wire(source=source) as wire:
            wire.send(raw)
            return wire.reply(head=head)

    def converse(self, requests: Iterable[bytes]) -> list[Reply]:
        """The answers to requests one after another, on one connection as long as it stays open."""
        found: list[Reply] = []
        with ExitStack() as wires:
            wire = wires.enter_context(self.wire())
            for raw in requests:
                if found and found[-1].headers.get("connection") == "close":
                    wire = wires.enter_context(self.wire())
                wire.send(raw)
                found.append(wire.reply(head=raw.startswith(b"HEAD ")))
        return found

    def get(self, target: str | bytes, *lines: bytes, by: str | None = "alice", row: str = "") -> Reply:
        return self.ask(self.request(target, *lines, by=by, row=row))

    def post(
        self,
        target: str | bytes,
        body: bytes,
        *lines: bytes,
        by: str | None = "alice",
        row: str = "",
        method: bytes = b"POST",
    ) -> Reply:
        length = b"Content-Length: %d" % len(body)
        return self.ask(self.request(target, length, *lines, by=by, row=row, method=method) + body)

    def post_json(self, target: str, value: object, *, by: str = "alice", row: str = "") -> Reply:
        return self.post(target, json.dumps(value).encode(), b"Content-Type: application/json", by=by, row=row)

    def me(self, *lines: bytes, query: str = "") -> str | int:
        """Who the gateway takes the sender of these headers for; the status, if for nobody."""
        reply = self.get(f"/gateway/api/v1/me{query}", *lines, by=None)
        return str(reply.json()["name"]) if reply.status == 200 else reply.status

    def line_of(self, reply: Reply) -> dict[str, Any]:
        """What the access log says of the request with this answer."""
        wanted = reply.headers["x-request-id"]
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found.extend(line for line in self.house.lines() if line["request_id"] == wanted)
            return bool(found)

        until(there)
        return found[0]

    def seen(self, row: str) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """Method, raw target and headers (names in lower case) of what ComfyUI got of this row's requests."""
        mark = self.mark(row)
        return [
            (method, target, [(name.lower(), value) for name, value in headers])
            for method, target, headers in self.requests()
            if mark in target or any(mark in value for _, value in headers)
        ]

    def requests(self) -> list[tuple[str, str, list[list[str]]]]:
        """Everything that ComfyUI was asked."""
        return [tuple(entry["detail"]) for entry in self.house.happenings() if entry["kind"] == "request"]


def until(condition: Any) -> None:
    """Wait until it holds; a condition that never does fails the test."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)
