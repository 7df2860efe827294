"""One client socket's life, over a real websocket."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from socket import SHUT_RDWR
from typing import Any

import aiohttp
import pytest

from gateway.proxy import relay
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture, slow
from tests.house import PATIENCE, House, house, until

FLAGS = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway with small caps."""
    async with house(tmp_path, roles={"member": {"max_sockets": 3}}) as built:
        yield built


async def text(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next text frame."""
    while True:
        message = await socket.receive(timeout=PATIENCE)
        if message.type == aiohttp.WSMsgType.TEXT:
            return dict(json.loads(message.data))
        assert message.type == aiohttp.WSMsgType.BINARY, message


async def to_the_end(socket: aiohttp.ClientWebSocketResponse) -> list[Any]:
    """Every frame up to `executing` with node null."""
    frames: list[Any] = []
    while True:
        message = await socket.receive(timeout=PATIENCE)
        assert message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY), message
        frames.append(message.data if message.type == aiohttp.WSMsgType.BINARY else json.loads(message.data))
        last = frames[-1]
        if isinstance(last, dict) and last["type"] == "executing" and last["data"]["node"] is None:
            return frames


async def test_the_first_frame_is_status_with_the_clients_own_id(one: House) -> None:
    """The first frame is `status` with the client's own id as sid; without one the gateway makes it."""
    async with one.socket(by="alice", client_id="my-id") as socket:
        exec_info = {"exec_info": {"queue_remaining": 0}}
        assert await text(socket) == {"type": "status", "data": {"status": exec_info, "sid": "my-id"}}
    async with one.socket(by="alice") as socket:
        assert len((await text(socket))["data"]["sid"]) == 32


async def test_flags_are_answered_with_ours(one: House) -> None:
    """feature_flags as the first JSON message is answered with the server's flags: no assets, the role's upload
    size."""
    async with one.socket(by="alice") as socket:
        await text(socket)
        await socket.send_str("not json")
        await socket.send_json(FLAGS)
        answer = await text(socket)
        assert answer["type"] == "feature_flags"
        assert answer["data"]["assets"] is False
        assert answer["data"]["max_upload_size"] == 100 * 1024 * 1024
        assert answer["data"]["supports_preview_metadata"] is True


async def test_flags_count_only_in_the_first_message(one: House) -> None:
    """After any other JSON object, feature flags are ignored for good, as in ComfyUI."""
    async with one.socket(by="alice", client_id="late") as socket:
        await text(socket)
        await socket.send_json({"type": "hello"})
        await socket.send_json(FLAGS)
        await one.submit(slow("late", seconds=0.2), by="alice", client_id="late")
        frames = await to_the_end(socket)
        assert {int.from_bytes(frame[:4], "big") for frame in frames if isinstance(frame, bytes)} <= {1, 3}
        assert not any(isinstance(frame, dict) and frame["type"] == "feature_flags" for frame in frames)


async def test_previews_come_in_the_form_that_the_client_announced(one: House) -> None:
    """Binary 4 for a client with supports_preview_metadata, binary 1 with the same picture for one without."""
    async with one.socket(by="alice", client_id="c") as rich, one.socket(by="alice", client_id="c") as plain:
        await rich.send_json(FLAGS)
        await asyncio.gather(text(rich), text(plain))
        await one.submit(slow("previews", seconds=0.3), by="alice", client_id="c")
        told = await asyncio.gather(to_the_end(rich), to_the_end(plain))
    kinds = [{int.from_bytes(frame[:4], "big") for frame in frames if isinstance(frame, bytes)} for frames in told]
    assert 4 in kinds[0]
    assert 1 not in kinds[0]
    assert 1 in kinds[1]
    assert 4 not in kinds[1]


async def test_events_of_a_job_without_client_id_go_to_all_of_the_owners_sockets(one: House) -> None:
    """A job that named no client id is heard on every socket of its owner; one that named an id on that id's only."""
    async with one.socket(by="alice", client_id="a") as a, one.socket(by="alice", client_id="b") as b:
        await one.submit(picture(1), by="alice")
        await asyncio.gather(to_the_end(a), to_the_end(b))
        prompt_id = await one.submit(picture(2), by="alice", client_id="a")
        await to_the_end(a)
        await one.submit(picture(3), by="alice")
        assert not any(isinstance(f, dict) and f["data"].get("prompt_id") == prompt_id for f in await to_the_end(b))


async def test_I26_reusing_anothers_client_id_gets_ones_own_stream_only(one: House) -> None:
    """A socket with another user's client id takes nothing over: the owner keeps the events, the other gets none."""
    async with one.socket(by="bob", client_id="bobs") as owner, one.socket(by="alice", client_id="bobs") as thief:
        await text(thief)
        prompt_id = await one.submit(slow("bobs", seconds=0.2), by="bob", client_id="bobs")
        frames = await to_the_end(owner)
        assert any(isinstance(f, dict) and f["data"].get("prompt_id") == prompt_id for f in frames)
        await one.submit(picture(5), by="alice", client_id="bobs")
        heard = await to_the_end(thief)
        assert prompt_id not in json.dumps([frame for frame in heard if isinstance(frame, dict)])
        assert not any(isinstance(frame, bytes) for frame in heard)


async def test_whoever_comes_back_learns_where_the_job_is(one: House) -> None:
    """On reconnect the gateway sends `status` and, if a job of that client runs, `executing` with its node."""
    async with one.socket(by="alice", client_id="again") as socket:
        await one.submit(slow("again", seconds=1.5, previews=False), by="alice", client_id="again")
        while (await text(socket))["type"] != "progress":
            pass
    async with one.socket(by="alice", client_id="again") as socket:
        assert (await text(socket))["data"]["status"]["exec_info"]["queue_remaining"] == 1
        assert await text(socket) == {"type": "executing", "data": {"node": "2"}}
        await to_the_end(socket)


async def test_execute_submits_and_its_events_come_back(one: House) -> None:
    """`{"type": "execute", "data": workflow}` submits for the caller, and the events come back on the same socket."""
    async with one.socket(by="alice") as socket:
        await text(socket)
        await socket.send_json({"type": "execute", "data": picture(41)})
        frames = await to_the_end(socket)
    kinds = [frame["type"] for frame in frames if isinstance(frame, dict)]
    assert "execution_start" in kinds
    assert "executed" in kinds
    assert frames[-1]["data"]["prompt_id"] in (await one.ask("GET", "/history", by="alice")).json()


async def test_an_execute_that_fails_says_why_and_ends(one: House) -> None:
    """What cannot be submitted comes back as execution_error and the end that scripts wait for."""
    async with one.socket(by="alice") as socket:
        await text(socket)
        await socket.send_json({"type": "execute", "data": {"1": {"class_type": "Nope"}}})
        frames = await to_the_end(socket)
    assert frames[-2]["type"] == "execution_error"
    assert frames[-2]["data"]["exception_message"]
    assert frames[-1]["data"]["prompt_id"] == frames[-2]["data"]["prompt_id"]


async def test_R07_sockets_per_user_are_capped_before_the_handshake(one: House) -> None:
    """One user's sockets end at the role's number, with 429; another user's are not counted."""
    async with one.socket(by="alice"), one.socket(by="alice"), one.socket(by="alice"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            async with one.socket(by="alice"):
                pass
        assert refused.value.status == 429
        async with one.socket(by="bob") as socket:
            assert (await text(socket))["type"] == "status"
    await until(lambda: one.gateway.works is not None and one.gateway.works.hub.open_sockets(1) == 0)


@pytest.mark.parametrize("path", ["/ws", "/api/ws", "/%77s"])
async def test_P29_a_stranger_is_refused_before_the_handshake(one: House, path: str) -> None:
    """An upgrade without a credential is 401, and ComfyUI is not dialled."""
    opened = len([happening for happening in one.simulator.log if happening.kind == "socket_opened"])
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with one.http.ws_connect(one.url + path):
            pass
    assert refused.value.status == 401
    assert len([happening for happening in one.simulator.log if happening.kind == "socket_opened"]) == opened


async def test_T12_a_revoked_token_closes_its_open_sockets_with_4401(one: House) -> None:
    """Revocation is at once: the open socket of that token closes with 4401, the owner's others stay."""
    other = one.tokens["alice"]
    mortal = await one.user("alice")
    async with one.socket(by="alice") as socket:
        one.tokens["alice"] = other
        async with one.socket(by="alice") as stays:
            await asyncio.gather(text(socket), text(stays))
            async with await Store.open(url_of(one.settings)) as store:
                await store.tokens.revoke(mortal.split("_")[1], now=time.time())
            message = await socket.receive(timeout=PATIENCE)
            assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
            await stays.send_json(FLAGS)
            assert (await text(stays))["type"] == "feature_flags"


async def test_T28_a_read_only_token_opens_no_socket(one: House) -> None:
    """A token with the scope `read` alone may not submit, delete or open a socket, which can submit too."""
    await one.user("alice", scopes=frozenset({"read"}))
    for method, path in (("POST", "/prompt"), ("POST", "/queue"), ("DELETE", "/userdata/a.json")):
        assert (await one.ask(method, path, by="alice", json={})).status == 403
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with one.socket(by="alice"):
            pass
    assert refused.value.status == 403
    assert (await one.ask("GET", "/queue", by="alice")).status == 200


async def test_E08_a_reader_that_stays_behind_loses_its_own_socket_only(
    one: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that stops reading is closed with 1013; ComfyUI and the others never notice."""
    monkeypatch.setattr(relay, "STUCK_SECONDS", 0.2)
    works = one.gateway.works
    assert works is not None
    async with one.socket(by="alice", client_id="slow"), one.socket(by="bob", client_id="quick") as quick:
        await text(quick)
        listener = next(found for found in works.hub._listeners[1] or works.hub._listeners[2] if found.sid == "slow")
        for _ in range(200):
            listener.outbox.put(secrets.token_bytes(1024 * 1024))
        await until(lambda: listener not in works.hub._listeners.get(listener.user_id, []))
        await one.submit(picture(77), by="bob", client_id="quick")
        await to_the_end(quick)


async def test_F23_clients_that_leave_in_the_middle_of_frames_are_no_error(
    one: House, caplog: pytest.LogCaptureFixture
) -> None:
    """A client may go at any moment, with a goodbye or without: its socket ends, and nothing is logged as a failure."""
    await one.submit(slow("leaving", seconds=1.5, steps=150), by="alice")
    for number in range(12):
        async with one.socket(by="alice") as socket:
            await text(socket)
            await text(socket)
            if number % 2:
                socket.get_extra_info("socket").shutdown(SHUT_RDWR)
    works = one.gateway.works
    assert works is not None
    await until(lambda: works.hub.open_sockets(1) == 0)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
