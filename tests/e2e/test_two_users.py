"""Two users who do not trust each other, on one ComfyUI: every frame, every queue and history entry that either
receives is the user's own."""

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import requests
import websocket

from tests.e2e.conftest import PATIENCE, Door
from tests.e2e.graphs import slow

PREVIEW_FLAGS = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True}})


@dataclass(slots=True)
class Ear:
    """A socket that keeps everything it receives."""

    door: Door
    token: str
    client_id: str
    metadata: bool
    texts: list[dict[str, Any]] = field(default_factory=list)
    binaries: list[bytes] = field(default_factory=list)
    _socket: websocket.WebSocket = field(default_factory=websocket.WebSocket)
    _thread: threading.Thread | None = None

    def open(self) -> "Ear":
        address = f"{self.door.url.replace('http', 'ws')}/ws?clientId={self.client_id}"
        self._socket.connect(address, header=[f"X-API-Key: {self.token}"], timeout=PATIENCE)
        if self.metadata:
            self._socket.send(PREVIEW_FLAGS)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def _listen(self) -> None:
        while True:
            try:
                message = self._socket.recv()
            except (OSError, websocket.WebSocketException):
                return
            if isinstance(message, bytes):
                self.binaries.append(message)
            elif message:
                self.texts.append(json.loads(message))
            else:
                return

    def close(self) -> None:
        self._socket.close()

    def prompt_ids(self) -> set[str]:
        named = {text["data"].get("prompt_id") for text in self.texts} - {None}
        for frame in self.binaries:
            if int.from_bytes(frame[:4], "big") == 4:
                length = int.from_bytes(frame[4:8], "big")
                named.add(json.loads(frame[8 : 8 + length])["prompt_id"])
        return named


def submit(door: Door, token: str, nonce: str, client_id: str | None) -> str:
    body: dict[str, Any] = {"prompt": slow(nonce, seconds=0.4, prefix=nonce)}
    if client_id is not None:
        body["client_id"] = client_id
    answer = requests.post(f"{door.url}/prompt", json=body, headers={"X-API-Key": token}, timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["prompt_id"])


def settled(door: Door, token: str, ids: set[str]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        history = requests.get(f"{door.url}/history", headers={"X-API-Key": token}, timeout=PATIENCE).json()
        if ids <= set(history):
            return dict(history)
        time.sleep(0.1)
    raise AssertionError("the jobs did not end in time")


def test_neither_sees_anything_of_the_other(door: Door) -> None:
    """Same clientId, jobs interleaved, with and without client id, previews on: every frame received is of one's own
    jobs, and so is every entry."""
    names = [f"u{uuid.uuid4().hex[:8]}" for _ in range(3)]
    tokens = [door.user(name) for name in names]
    ears = [Ear(door, token, "the-same-id", metadata=n == 0).open() for n, token in enumerate(tokens)]
    mine: list[set[str]] = [set(), set(), set()]
    seen_in_queue: list[set[str]] = [set(), set(), set()]
    for turn in range(3):
        for n, token in enumerate(tokens[:2]):
            client_id = "the-same-id" if turn != 1 else None
            mine[n].add(submit(door, token, f"{names[n]}x{turn}", client_id))
        for n, token in enumerate(tokens):
            queue = requests.get(f"{door.url}/queue", headers={"X-API-Key": token}, timeout=PATIENCE).json()
            seen_in_queue[n] |= {item[1] for item in queue["queue_running"] + queue["queue_pending"]}
    histories = [settled(door, token, ids) for token, ids in zip(tokens, mine, strict=True)]
    time.sleep(0.3)
    for ear in ears:
        ear.close()

    for n in range(3):
        assert ears[n].prompt_ids() == mine[n], "every job of one's own, and no other, is named in one's frames"
        assert seen_in_queue[n] <= mine[n]
        assert set(histories[n]) == mine[n]
        others = [name for name in names if name != names[n]]
        received = json.dumps(ears[n].texts) + json.dumps(histories[n])
        assert not any(name in received for name in others)
        statuses = [
            text["data"]["status"]["exec_info"]["queue_remaining"] for text in ears[n].texts if text["type"] == "status"
        ]
        assert max(statuses) <= 3, "the queue's length counts one's own jobs only"
    assert ears[0].binaries, "previews came"
    assert all(int.from_bytes(frame[:4], "big") in (3, 4) for frame in ears[0].binaries)
    assert all(int.from_bytes(frame[:4], "big") in (1, 3) for frame in ears[1].binaries)
    assert not ears[2].binaries, "a third socket that reuses the client id gets nothing that is not its user's"
    assert {text["type"] for text in ears[2].texts} == {"status"}
