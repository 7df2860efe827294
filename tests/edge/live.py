"""A real server with the guarded protocol in a thread of its own, and a raw socket to talk to it byte by byte."""

import asyncio
import json
import select
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.edge.protocol import GuardedProtocol
from gateway.edge.websocket import QuietWebSocketProtocol

PATIENCE = 10.0


class Brisk(GuardedProtocol):
    """The same with short times, so that a test need not wait for the real ones."""

    head_timeout = 0.4
    body_gap = 0.5
    linger = 0.5
    write_timeout = 0.5


@dataclass(slots=True)
class Seen:
    """What the application was given."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    websockets: list[str] = field(default_factory=list)
    flooded: int = 0


class EchoApp:
    """`/echo` says what it was given, `/early` refuses unread, `/wait` and `/nap` take their time, `/flood` is much."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        if scope["path"] == "/early":
            await _answer(send, 401, b"no")
            return
        if scope["path"] == "/flood":
            await self._flood(send)
            return
        if scope["path"] == "/wait":
            await asyncio.sleep(0.3)
        if scope["path"] == "/nap":
            await asyncio.sleep(4 * Brisk.body_gap)
        body, ended = b"", True
        if scope["path"] != "/wait":
            body, ended = await _body(receive)
        if not ended:
            return
        request = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"]],
            "body": body.decode("latin-1"),
        }
        self._seen.requests.append(request)
        await _answer(send, 200, json.dumps(request).encode())

    async def _flood(self, send: Send) -> None:
        """64 MiB, far more than any buffer on the way holds."""
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"67108864")]})
        for number in range(1024):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": number < 1023})
        self._seen.flooded += 1

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._seen.websockets.append(scope["path"])
        if scope["path"] == "/refused":
            await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})


async def _body(receive: Receive) -> tuple[bytes, bool]:
    body = b""
    while True:
        message: Message = await receive()
        if message["type"] == "http.disconnect":
            return body, False
        body += message["body"]
        if not message["more_body"]:
            return body, True


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection. Every wait ends after `PATIENCE` seconds with an error."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._stream = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_what_it_takes(self, data: bytes) -> bool:
        """Send to somebody who may have closed already; whether he had not."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def finish(self) -> None:
        """Say that nothing more will be sent, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close with a reset, as a crashed client's host does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def line(self) -> bytes:
        return self._stream.readline()

    def exactly(self, size: int) -> bytes:
        return self._stream.read(size)

    def rest(self) -> int:
        """How many bytes still come until the connection ends."""
        size = 0
        with suppress(ConnectionResetError):
            while piece := self._stream.read(65536):
                size += len(piece)
        return size

    def answers_until_closed(self) -> "list[Answer]":
        answers = []
        try:
            while True:
                answers.append(self.answer())
        except ConnectionError:
            return answers

    def answer(self, *, head: bool = False) -> Answer:
        """The next final answer; an interim one stands in the headers as `interim`."""
        line = self._stream.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        status, headers = int(line.split()[1]), {}
        while (field_line := self._stream.readline()) not in (b"\r\n", b""):
            name, _, value = field_line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        if status == 100:
            final = self.answer(head=head)
            return Answer(final.status, {**final.headers, "interim": "100"}, final.body)
        length = 0 if head or status in (101, 204, 304) else int(headers.get("content-length", "0"))
        return Answer(status, headers, self._stream.read(length))

    def is_closed(self) -> bool:
        """Whether the server ends the connection; waits for it."""
        try:
            return self._stream.read(1) == b""
        except ConnectionResetError:
            return True

    def quiet_for(self, seconds: float) -> bool:
        """Whether nothing comes for so long."""
        readable, _, _ = select.select([self._socket], [], [], seconds)
        return not readable

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


@dataclass(slots=True)
class Live:
    """A running server."""

    port: int
    seen: Seen
    server: uvicorn.Server
    wires: list[Wire] = field(default_factory=list)

    def wire(self) -> Wire:
        wire = Wire(self.port)
        self.wires.append(wire)
        return wire

    def stop(self) -> None:
        """Begin to stop; what runs may end."""
        self.server.should_exit = True

    def ask(self, data: bytes, *, head: bool = False) -> Answer:
        """The first answer to these bytes on a connection of their own."""
        wire = self.wire()
        wire.send(data)
        return wire.answer(head=head)


@contextmanager
def live(protocol: type[GuardedProtocol] = Brisk, *, app: ASGIApp | None = None) -> Iterator[Live]:
    """Run the server, with the echoing application or another one, until the end of the block."""
    seen = Seen()
    config = uvicorn.Config(
        app or EchoApp(seen),
        host="127.0.0.1",
        port=0,
        http=protocol,
        ws=QuietWebSocketProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    running = Live(listener.getsockname()[1], seen, server)
    try:
        yield running
    finally:
        for wire in running.wires:
            wire.close()
        server.should_exit = True
        thread.join(PATIENCE)
        listener.close()
    assert not thread.is_alive(), "the server did not stop"
