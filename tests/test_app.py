"""The whole gateway: credentials of every kind on HTTP and websockets, cookie sessions from login to logout, and what
no other room can show alone."""

import asyncio
import base64
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.comfy.table import TABLE
from gateway.identity.passwords import Passwords
from gateway.store import Store
from gateway.store.changes import note_change
from gateway.store.transactions import url_of
from tests.e2e.graphs import picture
from tests.house import PATIENCE, House, Said, house, until

PASSWORD = "alice's own password"


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway that bears many strangers; alice has a password too."""
    async with house(tmp_path, address_rates={"anonymous": "10000/minute"}) as built:
        async with await Store.open(url_of(built.settings)) as store:
            alice = await store.users.by_name("alice")
            assert alice is not None
            await store.users.set(alice.id, password_hash=Passwords().hash(PASSWORD))
        yield built


def basic(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def slow(number: int) -> dict[str, Any]:
    wait = {"seconds": 30.0, "steps": 30, "previews": True, "text": True, "nonce": str(number)}
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
        "2": {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **wait}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "slow"}},
    }


async def login(one: House, **fields: str) -> Said:
    form = {"name": "alice", "password": PASSWORD, **fields}
    return await one.ask("POST", "/gateway/login", data=form, headers={"Origin": one.url})


async def session_cookie(one: House) -> dict[str, str]:
    said = await login(one)
    assert said.status == 303, said.body
    return {"Cookie": said.headers["Set-Cookie"].split(";")[0]}


def credentials(one: House) -> dict[str, tuple[str, dict[str, str]]]:
    """A path prefix, or headers, or a query, for each kind of credential."""
    token = one.tokens["alice"]
    return {
        "path token": (f"/gateway/t/{token}/queue", {}),
        "api key": ("/queue", {"X-API-Key": token}),
        "bearer": ("/queue", {"Authorization": f"Bearer {token}"}),
        "basic token": ("/queue", basic("whoever", token)),
        "basic password": ("/queue", basic("alice", PASSWORD)),
        "query": (f"/queue?token={token}", {}),
    }


async def test_every_credential_opens_http(one: House) -> None:
    """Contract "Credentials" 1 to 6 on HTTP."""
    for kind, (path, headers) in credentials(one).items():
        assert (await one.ask("GET", path, headers=headers)).status == 200, kind
    assert (await one.ask("GET", "/queue", headers=await session_cookie(one))).status == 200


async def test_every_credential_opens_a_socket(one: House) -> None:
    """Contract "Credentials" 1 to 6 on websockets."""
    cookie = {**await session_cookie(one), "Origin": one.url}
    offered = {**credentials(one), "cookie": ("/queue", cookie)}
    for kind, (path, headers) in offered.items():
        address = one.url + path.replace("/queue", "/ws")
        async with one.http.ws_connect(address, headers=headers) as socket:
            first = await socket.receive_json(timeout=PATIENCE)
            assert first["type"] == "status", kind


async def test_a_bad_credential_never_hides_a_good_one(one: House) -> None:
    """Tools that send a wrong Bearer and a right `?token=`, or a wrong key and a right Basic, are let in."""
    token = one.tokens["alice"]
    wrong = {"Authorization": "Bearer cgw_wrong", "X-API-Key": "nonsense"}
    assert (await one.ask("GET", f"/queue?token={token}", headers=wrong)).status == 200
    assert (await one.ask("GET", "/queue", headers={"X-API-Key": "no", **basic("me", token)})).status == 200
    assert (await one.ask("GET", "/queue", headers={"Authorization": "Bearer ", "X-API-Key": token})).status == 200
    assert (await one.ask("GET", "/queue", headers=wrong)).status == 401


async def test_a_401_has_the_contracts_shape(one: House) -> None:
    """A refusal is JSON with error, node_errors and request_id, and never opens a browser's own password dialog."""
    said = await one.ask("GET", "/history")
    assert said.status == 401
    body = said.json()
    assert set(body) == {"error", "node_errors", "request_id"}
    assert set(body["error"]) == {"type", "message", "details", "extra_info"}
    assert body["request_id"] == said.headers["X-Request-ID"]
    assert "basic" not in said.headers["WWW-Authenticate"].lower()


async def test_a_browser_is_sent_to_the_login_page_and_back(one: House) -> None:
    """Navigation without a session goes to the login page; the login goes on to where one was going."""
    page = await one.ask("GET", "/?x=1", headers={"Accept": "text/html", "Sec-Fetch-Mode": "navigate"})
    assert page.status == 303
    assert page.headers["Location"].startswith("/gateway/login?next=")
    said = await login(one, next="/?x=1")
    assert said.headers["Location"] == "/?x=1"


async def test_C01_a_cookie_alone_submits_nothing(one: House) -> None:
    """C01 C02 C03 C05: with a cookie, unsafe methods and sockets need our own origin, and JSON routes JSON."""
    cookie = await session_cookie(one)
    body = {"prompt": picture(1)}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {},
    ):
        said = await one.ask("POST", "/prompt", json=body, headers={**cookie, **headers})
        assert (said.status, said.json()["error"]["type"]) == (403, "csrf"), headers
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await one.http.ws_connect(one.url + "/ws", headers={**cookie, **headers})
        assert refused.value.status == 403
    ours = {**cookie, "Origin": one.url}
    text = await one.ask("POST", "/prompt", data="{}", headers={**ours, "Content-Type": "text/plain"})
    assert text.status == 415
    assert (await one.ask("POST", "/prompt", json=body, headers=ours)).status == 200
    assert (await one.ask("POST", "/interrupt", headers=ours)).status == 200, "no body needs no type"


async def test_C04_a_get_that_acts_needs_our_own_origin(one: House) -> None:
    """C04: some of ComfyUI-Manager's GET routes act, so an administrator's cookie alone does not open them."""
    form = {"name": "", "password": one.tokens["root"]}
    said = await one.ask("POST", "/gateway/login", data=form, headers={"Origin": one.url})
    cookie = {"Cookie": said.headers["Set-Cookie"].split(";")[0]}
    assert (await one.ask("GET", "/manager/reboot", headers=cookie)).json()["error"]["type"] == "csrf"
    ours = {**cookie, "Sec-Fetch-Site": "same-origin"}
    assert (await one.ask("GET", "/manager/reboot", headers=ours)).status == 404, "ComfyUI itself answered"


async def test_C06_token_clients_need_no_origin_and_no_type(one: House) -> None:
    """Token clients may send any content type and no Origin: ComfyUI's own examples do."""
    raw = b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}}'
    said = await one.ask("POST", "/prompt", by="alice", data=raw, headers={"Content-Type": "text/plain"})
    assert said.json()["error"]["type"] == "prompt_no_outputs", "ComfyUI itself answered"


async def test_C10_logout_ends_the_session_and_its_sockets(one: House) -> None:
    """After logout the cookie is dead on the server, and every socket that it opened is closed with 4401."""
    cookie = await session_cookie(one)
    ours = {**cookie, "Origin": one.url}
    async with one.http.ws_connect(one.url + "/ws", headers=ours) as socket:
        await socket.receive_json(timeout=PATIENCE)
        assert (await one.ask("POST", "/gateway/logout", headers=ours)).status in (200, 303)
        message = await socket.receive(timeout=PATIENCE)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
    assert (await one.ask("GET", "/queue", headers=cookie)).status == 401


async def test_a_disabled_user_is_out_at_once(one: House) -> None:
    """T12: another process disables the user; the very next request is 401, and the open socket closes."""
    async with one.socket(by="alice") as socket:
        await socket.receive_json(timeout=PATIENCE)
        async with await Store.open(url_of(one.settings)) as store:
            alice = await store.users.by_name("alice")
            assert alice is not None
            await store.users.set(alice.id, disabled=True)
        assert (await one.ask("GET", "/queue", by="alice")).status == 401
        message = await socket.receive(timeout=PATIENCE)
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 4401)
    assert (await one.ask("GET", "/queue", by="bob")).status == 200


@pytest.mark.parametrize("command", ["remove", "disable"])
async def test_who_has_to_go_while_a_job_runs(one: House, command: str) -> None:
    """Another process removes or disables the user: the socket closes with 4401, the next submit is 401, what ran is
    interrupted, what waited never starts, and others' jobs go on."""
    async with one.socket(by="alice") as socket:
        await socket.receive_json(timeout=PATIENCE)
        ids = [await one.submit(slow(number), by="alice") for number in range(4)]
        theirs = await one.submit(picture(9), by="bob")
        words = [sys.executable, "-m", "gateway", "user", command, "alice", "--data-dir", str(one.settings.data_dir)]
        process = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.DEVNULL)
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
        said = await one.ask("POST", "/prompt", by="alice", json={"prompt": slow(5)})
        assert (said.status, said.json()["error"]["type"]) == (401, "unauthenticated")
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.TEXT or message.type is aiohttp.WSMsgType.BINARY
        assert socket.close_code == 4401
    assert (await one.history(theirs, by="bob"))["status"]["status_str"] == "success"
    started = [happening.prompt_id for happening in one.simulator.log if happening.kind == "started"]
    assert [prompt_id for prompt_id in ids if prompt_id in started] == ids[:1]
    assert not [entry for entry in one.simulator.log if entry.kind == "finished" and entry.prompt_id in ids]


async def test_an_expired_token_says_so(one: House) -> None:
    """A token past its expiry is 401 `token_expired`."""
    async with await Store.open(url_of(one.settings)) as store, store.write() as connection:
        await connection.exec_driver_sql(f"UPDATE tokens SET expires_at = {time.time() - 1}")
        await note_change(connection)
    said = await one.ask("GET", "/queue", by="alice")
    assert (said.status, said.json()["error"]["type"]) == (401, "token_expired")


async def test_P27_P34_members_reach_nothing_that_is_not_in_the_table(one: House) -> None:
    """Unknown routes name the rule to add; logs, /free and Manager are the administrator's."""
    said = await one.ask("GET", "/lab/hello", by="alice")
    assert (said.status, said.json()["error"]["type"]) == (403, "route_not_allowed")
    assert said.json()["error"]["extra_info"]["rule"] == "GET /lab/hello"
    for method, path in (("GET", "/internal/logs"), ("GET", "/%69nternal/logs/raw"), ("POST", "/free")):
        assert (await one.ask(method, path, by="alice", json={} if method == "POST" else None)).status == 403
    assert (await one.ask("GET", "/internal/logs", by="root")).status == 200
    assert (await one.ask("POST", "/users", by="root", json={"username": "x"})).status == 403


async def test_P01_a_stranger_gets_401_on_every_known_route(one: House) -> None:
    """P01: without a credential no row of the table is answered by ComfyUI."""
    before = len(one.simulator.log)
    for row in TABLE:
        path = row.prefixes[0] + row.pattern.replace(":rest", "").replace(":file", "").replace("{", "").replace("}", "")
        said = await one.ask(row.method, path)
        assert said.status in (401, 404, 405), (row, said.status)
    said_of_strangers = [happening for happening in one.simulator.log[before:] if happening.kind == "request"]
    assert not [happening for happening in said_of_strangers if "/system_stats" not in str(happening.detail)]


async def test_P31_options_never_reach_comfyui(one: House) -> None:
    """OPTIONS is answered by the gateway, with the authorisation of any other request."""
    before = len(one.simulator.log)
    assert (await one.ask("OPTIONS", "/prompt")).status == 401
    assert (await one.ask("OPTIONS", "/prompt", by="alice")).status == 204
    assert len(one.simulator.log) == before


async def test_the_gateways_own_addresses(one: House) -> None:
    """Health and readiness are open; everything unknown below /gateway is 404 in the contract's shape."""
    assert (await one.ask("GET", "/gateway/healthz")).status == 200
    assert (await one.ask("GET", "/gateway/readyz")).status == 200
    said = await one.ask("GET", "/gateway/nothing")
    assert (said.status, said.json()["error"]["type"]) == (404, "not_found")
    await one.simulator.crash()

    async def unready() -> bool:
        return (await one.ask("GET", "/gateway/readyz")).status == 503

    await until(unready)
    assert (await one.ask("GET", "/gateway/healthz")).status == 200


@pytest.mark.parametrize("path", ["/gateway", "/gateway/", "/gateway/login", "/gateway/api/v1/me", "/gateway/nothing"])
async def test_there_is_no_websocket_below_gateway(one: House, path: str) -> None:
    """An upgrade at one of our own addresses is 404 in the contract's shape, whoever asks."""
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for by in (None, "alice"):
        said = await one.ask("GET", path, by=by, headers=upgrade)
        assert (said.status, said.json()["error"]["type"]) == (404, "not_found")
        assert said.json()["request_id"] == said.headers["X-Request-ID"]


async def test_a_password_buys_a_short_lived_token(one: House) -> None:
    """/gateway/api/v1/auth/token gives an access token for a password; it works as Bearer, on sockets too."""
    form = {"grant_type": "password", "username": "alice", "password": PASSWORD}
    said = await one.ask("POST", "/gateway/api/v1/auth/token", data=form)
    bearer = {"Authorization": f"Bearer {said.json()['access_token']}"}
    assert (await one.ask("GET", "/queue", headers=bearer)).status == 200
    async with one.http.ws_connect(one.url + "/ws", headers=bearer) as socket:
        assert (await socket.receive_json(timeout=PATIENCE))["type"] == "status"


async def test_a_role_that_the_settings_lost_permits_nothing(one: House) -> None:
    """A user whose role is no longer configured is refused everywhere, with 403 and not with an error."""
    async with await Store.open(url_of(one.settings)) as store:
        bob = await store.users.by_name("bob")
        assert bob is not None
        await store.users.set(bob.id, role="artist")
    for path in ("/queue", "/view?filename=x.png", "/"):
        assert (await one.ask("GET", path, by="bob")).status == 403


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"prompt": {"1": {"class_type": "EmptyImage"}}}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": null}}}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "client_id": []}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "client_id": {}}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "extra_data": null}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "number": NaN}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "number": Infinity}',
        b'{"prompt": {"1": null}}',
        b'{"prompt": 5}',
        b'{"prompt": {"1": {"class_type": "EmptyImage", "inputs": {}}}, "partial_execution_targets": 5}',
        b"[" * 200_000,
    ],
    ids=range(14),
)
async def test_D01_D12_prompts_of_death_never_reach_comfyui(one: House, body: bytes) -> None:
    """D01 to D07, D10, D12: a 400 in ComfyUI's error shape; ComfyUI never sees it, lives, and still executes."""
    seen = len([happening for happening in one.simulator.log if "/prompt" in str(happening.detail)])
    said = await one.ask("POST", "/prompt", by="alice", data=body)
    assert said.status == 400
    answer: dict[str, Any] = said.json()
    assert set(answer["error"]) == {"type", "message", "details", "extra_info"}
    assert answer["node_errors"] == {}
    assert len([happening for happening in one.simulator.log if "/prompt" in str(happening.detail)]) == seen
    await one.history(await one.submit(picture(1), by="alice"), by="alice")


async def test_D01_a_client_id_in_extra_data_is_overwritten(one: House) -> None:
    """D01: what would end ComfyUI's process from inside extra_data is left out of the body that it gets."""
    await one.submit(picture(1), by="alice", extra_data={"client_id": ["a list ends the process"]})
    await one.history(await one.submit(picture(2), by="alice"), by="alice")
