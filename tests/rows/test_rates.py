"""How often, on a whole gateway: no route and no spelling is without a limit, and no ordinary client meets one."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from starlette.routing import BaseRoute

from gateway.app import Doors
from gateway.comfy.table import TABLE
from gateway.config import Rates
from gateway.edge.own_door import OwnDoor
from tests.e2e.graphs import picture
from tests.house import PATIENCE, House, Said, house, until

CLASSES = tuple(Rates.model_fields)
PRIMED = {
    "submit": ("POST", "/prompt"),
    "poll": ("GET", "/queue"),
    "view": ("GET", "/view?filename=none.png"),
    "upload": ("POST", "/upload/image"),
    "socket": ("GET", "/ws"),
    "static": ("GET", "/index.html"),
    "default": ("GET", "/settings"),
}
"""One request of each class."""
FEW = {"anonymous": "1/hour", "login": "1/hour", "page": "1/hour"}
PERSON = {"Accept": "text/html", "Sec-Fetch-Mode": "navigate"}


@asynccontextmanager
async def strict(directory: Path, rates: Mapping[str, str], **options: Any) -> AsyncIterator[House]:
    """A gateway whose members have these rates."""
    async with house(directory, roles={"member": {"rates": dict(rates)}}, **options) as built:
        yield built


def limited(said: Said) -> bool:
    """Whether it is a 429 with all that the contract wants of one."""
    if said.status != 429:
        return False
    for name in ("Retry-After", "RateLimit-Limit", "RateLimit-Reset"):
        assert len(said.headers.getall(name)) == 1 and int(said.headers[name]) >= 1, name
    assert said.headers.getall("RateLimit-Remaining") == ["0"]
    return True


def example(pattern: str) -> str:
    """An address of a pattern of the table, or of FastAPI."""
    whole = pattern.replace("{path:file}", "x.js").replace("{path:rest}", "x/y.js")
    return "/".join("x" if part.startswith("{") else part for part in whole.split("/"))


def own_routes(one: House) -> Iterator[tuple[str, str]]:
    """Every method and address of the application behind `/gateway`, of its included routers, too."""
    app: Any = one.gateway._app
    doors = app._app
    assert isinstance(doors, Doors) and isinstance(doors._control, OwnDoor)
    control: Any = doors._control._app
    yield from _routes(control.routes)


def _routes(routes: list[BaseRoute]) -> Iterator[tuple[str, str]]:
    for route in routes:
        inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
        if inner:
            yield from _routes(inner)
        else:
            path, methods = getattr(route, "path", None), getattr(route, "methods", None)
            assert path and methods, route
            yield from ((method, example(path)) for method in sorted(methods))


async def test_R01_every_route_of_comfyui_meets_its_limit(tmp_path: Path) -> None:
    """Every row of the table under every prefix, HEAD and what is in no table: 429 over the limit, and ComfyUI sees
    nothing of it."""
    async with strict(tmp_path, dict.fromkeys(CLASSES, "1/hour")) as one:
        for method, path in PRIMED.values():
            assert not limited(await one.ask(method, path, by="alice")), path
        before = len(one.simulator.log)
        asked = [
            (method, prefix + example(row.pattern))
            for row in TABLE
            for prefix in row.prefixes
            for method in ((row.method, "HEAD") if row.method == "GET" else (row.method,))
        ]
        assert len(asked) > 150
        asked += [("GET", "/x%00y"), ("POST", "/a%00b"), ("GET", "/queue?a=%0a")]
        asked += [("GET", "/nothing/here"), ("POST", "/nothing"), ("PUT", "/prompt"), ("OPTIONS", "/prompt")]
        for method, path in asked:
            assert limited(await one.ask(method, path, by="alice")), (method, path)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with one.socket(by="alice"):
                pass
        assert caught.value.status == 429 and caught.value.headers is not None
        assert caught.value.headers["Retry-After"] and caught.value.headers["RateLimit-Limit"] == "1"
        seen = [line for line in one.simulator.log[before:] if line.kind == "request"]
        assert not [line for line in seen if "/system_stats" not in str(line.detail)]
        assert not limited(await one.ask("GET", "/queue", by="bob"))


async def test_R01_every_route_of_ours_meets_its_limit(tmp_path: Path) -> None:
    """Every route below /gateway, and what has none, is 429 over the limit: of the user, or of the address."""
    async with strict(tmp_path, {"default": "1/hour"}, address_rates=FEW) as one:
        routes = list(own_routes(one))
        assert {path for _, path in routes} >= {"/gateway/login", "/gateway/api/v1/me", "/gateway/docs", "/gateway/"}
        for method, path in (("GET", "/gateway/login"), ("GET", "/gateway/healthz"), ("POST", "/gateway/login")):
            assert not limited(await one.ask(method, path)), path
        assert not limited(await one.ask("GET", "/gateway/api/v1/me", by="alice"))
        more = [("GET", "/gateway/nothing"), ("POST", "/gateway/api/v1/nothing"), ("DELETE", "/gateway/api/v1/me")]
        for method, path in (*routes, *more, ("PUT", "/gateway/login"), ("GET", f"/gateway/t/{one.tokens['alice']}")):
            assert limited(await one.ask(method, path, by="alice")), (method, path)
        assert not limited(await one.ask("GET", "/gateway/api/v1/me", by="bob"))
        assert not limited(await one.ask("GET", "/gateway/api/v1/me"))
        for method, path in (("GET", "/gateway/api/v1/me"), ("GET", "/gateway/nothing"), ("GET", "/queue")):
            assert limited(await one.ask(method, path)), (method, path)


async def test_R02_headers_do_not_choose_the_address(tmp_path: Path) -> None:
    """Whatever a client says of its address, it counts for the one that it has; a listed proxy is believed."""
    names = ("X-Forwarded-For", "X_Forwarded_For", "X-Real-IP", "Forwarded", "True-Client-IP")

    async def statuses(one: House) -> list[int]:
        return [
            (await one.ask("GET", "/queue", headers={name: f"7.7.7.{number}"})).status
            for number, name in enumerate(names)
        ]

    async with house(tmp_path / "none", address_rates={"anonymous": "2/hour"}) as one:
        assert await statuses(one) == [401, 401, 429, 429, 429]
    async with house(tmp_path / "listed", address_rates=FEW, trusted_proxies=["127.0.0.1"]) as one:
        for number in range(5):
            said = await one.ask("GET", "/queue", headers={"X-Forwarded-For": f"6.6.6.6, 7.7.7.{number}"})
            assert said.status == 401
        assert limited(await one.ask("GET", "/queue", headers={"X-Forwarded-For": "5.5.5.5, 7.7.7.0"}))


async def test_R03_spellings_are_one(tmp_path: Path) -> None:
    """Aliases, encoded letters, queries, HEAD, other credentials and the path token are the same limit."""
    async with strict(tmp_path, {"poll": "1/hour", "submit": "1/hour"}) as one:
        token = one.tokens["alice"]
        assert (await one.ask("POST", "/prompt", by="alice", data=b"{}")).status == 400
        for path in ("/prompt", "/api/prompt", "/%70rompt", "/api/%70%72ompt", "/prompt?noise=1", "/prompt?a=1&b=2"):
            assert limited(await one.ask("POST", path, by="alice", data=b"{}")), path
        assert limited(await one.ask("POST", f"/gateway/t/{token}/api/prompt", data=b"{}"))
        assert limited(await one.ask("POST", f"/prompt?token={token}", data=b"{}"))
        assert (await one.ask("HEAD", "/history", by="alice")).status == 200
        for path in ("/queue", "/api/queue", "/%71ueue", "/history/x", "/api/jobs", "/prompt", "/history?max_items=1"):
            assert limited(await one.ask("GET", path, by="alice")), path
        assert limited(await one.ask("GET", "/queue", headers={"Authorization": f"Bearer {token}"}))


async def test_R04_many_tokens_are_one_user(tmp_path: Path) -> None:
    """A further token of a user is no new start."""
    async with strict(tmp_path, {"poll": "3/hour"}) as one:
        assert [(await one.ask("GET", "/queue", by="alice")).status for _ in range(2)] == [200, 200]
        await one.user("alice")
        said = [(await one.ask("GET", "/queue", by="alice")) for _ in range(2)]
        assert (said[0].status, said[0].headers["RateLimit-Remaining"], limited(said[1])) == (200, "0", True)


async def test_R05_strangers_with_random_paths_are_one_address(tmp_path: Path) -> None:
    """Ever new paths of strangers, bad paths too, count for the address; who has a good credential, opens the login
    page, logs in or looks at the health notices nothing of it."""
    async with house(tmp_path, address_rates={"anonymous": "20/hour"}) as one:
        paths = [f"/{number:x}/{'%00' if number % 3 else ''}x" for number in range(60)]
        said = [await one.ask("GET", path, headers={"X-API-Key": "wrong"} if path[-3] == "e" else {}) for path in paths]
        assert [one.status in (400, 401) for one in said[:20]] == [True] * 20
        assert all(limited(one) for one in said[20:])
        assert (await one.ask("GET", "/queue", by="alice")).status == 200
        assert (await one.ask("GET", "/queue", by="alice", headers={"Authorization": "Bearer wrong"})).status == 200
        page = await one.ask("GET", "/", headers=PERSON)
        assert (page.status, page.headers["Location"].startswith("/gateway/login")) == (303, True)
        for path in ("/gateway/login", "/gateway/static/gateway.css", "/gateway/healthz"):
            assert (await one.ask("GET", path)).status == 200
        form = {"username": "any", "password": one.tokens["alice"], "grant_type": "password"}
        assert (await one.ask("POST", "/gateway/api/v1/auth/token", data=form)).status == 200


async def test_an_unreadable_address_counts_for_whoever_asks(tmp_path: Path) -> None:
    """With a good credential what is asked wrongly counts for the user: strangers neither use that up, nor pay it."""
    async with strict(tmp_path, {"default": "2/hour"}, address_rates=FEW) as one:
        assert [(await one.ask("GET", "/x%00y", by="alice")).status for _ in range(3)] == [400, 400, 429]
        assert [(await one.ask("GET", "/x%00y")).status for _ in range(2)] == [400, 429]
        assert (await one.ask("GET", "/x%00y", by="bob")).status == 400


async def test_R07_sockets_are_counted(tmp_path: Path) -> None:
    """Opening sockets has a rate, before the handshake; so have messages on an open one, which is then closed with
    4429, and each `execute` is a submit: over the rate it fails in ComfyUI's own events."""
    async with strict(tmp_path, {"socket": "2/hour", "default": "5/hour", "submit": "1/hour"}) as one:
        execute = {"type": "execute", "data": {"prompt": picture(1)}}
        async with one.socket(by="alice", client_id="c") as socket:
            await socket.send_json(execute)
            await socket.send_json(execute)
            async with asyncio.timeout(PATIENCE):
                while (said := await socket.receive_json())["type"] != "execution_error":
                    pass
            assert said["data"]["exception_type"] == "rate_limited"
            assert "too fast" in said["data"]["exception_message"]
        async with one.socket(by="alice") as socket:
            for _ in range(10):
                await socket.send_str("x")
            async with asyncio.timeout(PATIENCE):
                while not (await socket.receive()).type.name.startswith("CLOS"):
                    pass
            assert socket.close_code == 4429
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with one.socket(by="alice"):
                pass
        assert caught.value.status == 429


async def test_R07_as_many_sockets_as_may_be_open(tmp_path: Path) -> None:
    """One socket more than the role allows is refused like anything that is too much, with all the headers."""
    async with house(tmp_path, roles={"member": {"max_sockets": 1}}) as one, one.socket(by="alice") as socket:
        await socket.receive_json(timeout=PATIENCE)
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            async with one.socket(by="alice"):
                pass
        headers = caught.value.headers
        assert caught.value.status == 429 and headers is not None
        assert headers.getall("RateLimit-Limit") == ["1"]
        assert (headers["RateLimit-Remaining"], headers["RateLimit-Reset"], headers["Retry-After"]) == ("0", "5", "5")


async def test_R09_logins_have_their_own_limits(tmp_path: Path) -> None:
    """Logins count by address before the form is read, and good ones by user; neither is anything else's limit."""
    form = {"name": "any", "grant_type": "password", "username": "any"}
    async with strict(tmp_path, {"login": "1/hour"}, address_rates={"login": "3/hour"}) as one:

        async def login(by: str, path: str = "/gateway/login") -> Said:
            data = {**form, "password": one.tokens[by]}
            return await one.ask("POST", path, data=data, headers={"Origin": one.url})

        assert (await login("alice")).status == 303
        said = await login("alice")
        assert limited(said) and b"too many logins" in said.body and "Set-Cookie" not in said.headers
        assert (await login("bob", "/gateway/api/v1/auth/token")).status == 200
        assert limited(await login("root"))
        for name in ("alice", "bob", "root"):
            assert (await one.ask("GET", "/gateway/api/v1/me", by=name)).status == 200


async def test_R12_a_page_of_the_editor_and_polling_are_not_limited(tmp_path: Path) -> None:
    """440 files and 60 requests of a page load at once, and hundreds of polls of the whole history, are answered."""
    async with house(tmp_path) as one:

        async def get(path: str) -> int:
            return (await one.ask("GET", path, by="alice")).status

        page = [f"/scripts/{number}.js" for number in range(440)] + ["/settings", "/api/userdata?dir=x", "/users"] * 20
        polls = ["/history", "/api/history", "/queue"] * 100
        statuses = [status for paths in (page, polls) for status in await asyncio.gather(*map(get, paths))]
        assert len(statuses) == 800 and 429 not in statuses


async def test_R14_refusals_are_framed_and_unread(tmp_path: Path) -> None:
    """On streaming routes a 429 is a whole answer on a connection that goes on; a body that is announced is not asked
    for."""
    async with strict(tmp_path, {"upload": "1/hour", "view": "1/hour"}) as one:
        for method, path in (PRIMED["upload"], PRIMED["view"]):
            assert not limited(await one.ask(method, path, by="alice"))
        reader, writer = await asyncio.open_connection("127.0.0.1", int(one.url.rpartition(":")[2]))
        head = f"Host: x\r\nX-API-Key: {one.tokens['alice']}\r\n"

        async def answer(raw: str) -> tuple[bytes, Any]:
            writer.write(raw.encode())
            async with asyncio.timeout(PATIENCE):
                lines = await reader.readuntil(b"\r\n\r\n")
                length = int(lines.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                return lines, json.loads(await reader.readexactly(length))

        for _ in range(2):
            lines, said = await answer(f"GET /view?filename=x.png HTTP/1.1\r\n{head}\r\n")
            assert lines.startswith(b"HTTP/1.1 429 ") and said["error"]["extra_info"]["class"] == "view"
        announced = (
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 90000000\r\nExpect: 100-continue\r\n"
        )
        lines, said = await answer(f"POST /upload/image HTTP/1.1\r\n{head}{announced}\r\n")
        assert lines.startswith(b"HTTP/1.1 429 ") and said["error"]["extra_info"]["class"] == "upload"
        writer.close()


async def test_a_refused_submit_is_the_editors_own_dialog(tmp_path: Path) -> None:
    """A POST /prompt over the rate is answered in ComfyUI's shape, in words, and leaves no job."""
    async with strict(tmp_path, {"submit": "1/minute"}) as one:
        await one.submit(picture(1), by="alice")
        said = await one.ask("POST", "/prompt", by="alice", json={"prompt": picture(2)})
        error = said.json()["error"]
        assert limited(said) and said.json()["node_errors"] == {}
        seconds = error["extra_info"]["retry_after_seconds"]
        assert (error["type"], error["message"]) == (
            "rate_limited",
            f"You are submitting jobs too fast: at most 1 in a minute. Try again in {seconds} seconds.",
        )
        assert error["details"].startswith("Wait ") and error["extra_info"]["limit"] == 1

        async def one_job() -> bool:
            return len((await one.ask("GET", "/history", by="alice")).json()) == 1

        await until(one_job)


async def test_answers_say_what_is_left(tmp_path: Path) -> None:
    """Every answer of a limited class has the RateLimit fields, once, refused for another reason or not."""
    async with strict(tmp_path, {"poll": "9/minute", "submit": "9/minute"}, cors_origins=["https://a.example"]) as one:
        for path, method, left in (("/queue", "GET", "8"), ("/history", "HEAD", "7"), ("/prompt", "POST", "8")):
            said = await one.ask(method, path, by="alice", headers={"Origin": "https://a.example"})
            assert (said.headers.getall("RateLimit-Limit"), said.headers["RateLimit-Remaining"]) == (["9"], left)
            assert "RateLimit-Remaining" in said.headers["Access-Control-Expose-Headers"]
        assert "RateLimit-Limit" not in (await one.ask("GET", "/index.html", by="alice")).headers
