"""Stands between the gateway and its ComfyUI, and answers in ComfyUI's place, byte by byte, when a test says so."""

import re
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field

PATIENCE = 15.0
_ASKED = re.compile(rb"[A-Z]+ (?:\S*[?&]odd=|(?:[^\r\n]+\r\n)+?(?i:x-odd): )([\w-]+)")


@dataclass(slots=True)
class Odd:
    """A request with `odd=<name>` in its query, or with a header `X-Odd: <name>` where the gateway writes the query
    anew, gets the bytes `answers[name]`, as soon as its head has come; all else goes through unchanged.

    `heads` are the requests that were answered so. The connection is closed behind the answer, unless its name is in
    `kept`: then another such request may follow. An answer with a gate waits until that is set.
    """

    upstream: int
    answers: dict[str, bytes] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=512))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def start(self) -> None:
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        comfy = socket.create_connection(("127.0.0.1", self.upstream))
        for connection in (client, comfy):
            # Else the second part of an answer waits for the acknowledgement of the first.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_pump, args=(comfy, client), daemon=True).start()
        with client, comfy, suppress(OSError):
            # The gateway writes a head in one piece, so it is read in one.
            while data := client.recv(65536):
                asked = _ASKED.match(data)
                if asked is None:
                    comfy.sendall(data)
                elif not self._answered(client, asked[1].decode(), data):
                    break
            client.shutdown(socket.SHUT_RDWR)

    def _answered(self, client: socket.socket, name: str, head: bytes) -> bool:
        """Whether the connection goes on."""
        self.heads.append(head)
        if name in self.gates:
            self.gates[name].wait(PATIENCE)
        client.sendall(self.answers[name])
        return name in self.kept


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
