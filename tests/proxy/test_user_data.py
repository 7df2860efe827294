"""Settings and user data, over real HTTP: in the shapes of the recordings, for the caller only."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.comfy.table import TABLE
from tests.house import House, Said, house, until

RECORDINGS = Path(__file__).parent.parent / "recordings"
NAMES = ("root.users", "settings", "userdata.post", "userdata.list", "userdata.get", "userdata.conflict")
LATER = ("userdata.v2", "userdata.move", "userdata.delete", "userdata.missing", "settings.post", "settings.get")
FILE = "/userdata/workflows%2Fa.json"
MEBIBYTE = 1024 * 1024


@pytest.fixture
async def one(tmp_path: Path) -> AsyncIterator[House]:
    """A gateway in front of the newer version, where a member may keep one MiB."""
    roles = {
        "member": {"user_data_mb": 1},
        "guest": {"permissions": ["read"]},
        "mover": {"permissions": ["read", "submit"], "user_data_mb": 20},
    }
    async with house(tmp_path, roles=roles) as built:
        yield built


def recordings(version: str) -> dict[str, dict[str, Any]]:
    lines = (RECORDINGS / version / "http.jsonl").read_text().splitlines()
    return {entry["name"]: entry for entry in map(json.loads, lines)}


def shape(value: Any) -> Any:
    """A JSON value with its times replaced by their kind: they belong to the moment of the recording."""
    if isinstance(value, list):
        return [shape(item) for item in value]
    if isinstance(value, dict):
        times = ("modified", "created", "migrated")
        return {key: type(item) if key in times else shape(item) for key, item in value.items()}
    return value


async def asked_again(built: House, request: dict[str, Any]) -> Said:
    body = {"data": request["data"]} if "data" in request else {"json": request["json"]} if "json" in request else {}
    return await built.ask(request["method"], request["path"], by="alice", **body)


async def test_recorded_answers_come_again(both: House, version: str) -> None:
    """Every recorded request about users, settings and user data is answered as that version answered it."""
    told = recordings(version)
    for name in (*NAMES, *LATER):
        said, expected = await asked_again(both, told[name]["request"]), told[name]
        assert said.status == expected["status"], name
        if "json" in expected["body"]:
            assert shape(said.json()) == shape(expected["body"]["json"]), name
        else:
            assert said.body.decode() == expected["body"]["text"], name
        given = dict(expected["headers"])
        assert said.headers.get("Content-Type") == given.get("Content-Type"), name
        if name == "userdata.get":
            assert said.headers["X-Content-Type-Options"] == "nosniff"
            assert said.headers["Content-Disposition"] == "attachment"


async def test_nothing_of_it_reaches_comfyui(both: House) -> None:
    """I20: settings and files are kept here: ComfyUI's own, shared ones are neither shown nor changed."""
    folder = both.simulator.directory / "user" / "default"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    (folder / "shared.json").write_text("everybody's")
    (folder / "comfy.settings.json").write_text('{"shared": true}')
    before = sorted(path.name for path in folder.iterdir())
    assert (await both.ask("GET", "/settings", by="alice")).json() == {}
    assert (await both.ask("GET", "/v2/userdata", by="alice")).json() == []
    assert (await both.ask("GET", "/userdata/shared.json", by="alice")).status == 404
    await both.ask("POST", "/userdata/mine.json", by="alice", data="1")
    await both.ask("POST", "/settings", by="alice", json={"mine": 1})
    assert sorted(path.name for path in folder.iterdir()) == before
    assert (folder / "comfy.settings.json").read_text() == '{"shared": true}'


async def test_what_the_editor_asks_at_the_start(both: House) -> None:
    """The editor's own calls on a first load find a user without anything, as in a fresh ComfyUI."""
    full = "recurse=true&split=false&full_info=true"
    for path, status in (
        ("/api/users", 200),
        ("/api/settings", 200),
        (f"/api/userdata?dir=workflows&{full}", 404),
        (f"/api/userdata?dir=subgraphs&{full}", 404),
        ("/api/userdata/comfy.templates.json", 404),
        ("/api/userdata/user.css", 404),
        ("/api/userdata/workflows%2F.index.json", 404),
    ):
        assert (await both.ask("GET", path, by="alice")).status == status, path
    said = await both.ask("POST", "/api/settings/Comfy.InstalledVersion", by="alice", data='"1.2.3"')
    assert said.status == 200
    for name in ("a.json", ".index.json"):
        address = f"/api/userdata/workflows%2F{name}?overwrite=true&full_info=true"
        assert (await both.ask("POST", address, by="alice", data='{"v":1}')).json()["path"] == f"workflows/{name}"
    listed = (await both.ask("GET", f"/api/userdata?dir=workflows&{full}", by="alice")).json()
    assert [file["path"] for file in listed] == ["a.json"]
    assert (await both.ask("GET", "/api/settings", by="alice")).json() == {"Comfy.InstalledVersion": "1.2.3"}


ALIASES = (
    FILE,
    f"/api{FILE}",
    "/api/userdata/workflows%2fa.json",
    "/userdata/%77orkflows%2Fa.json",
    "/userdata/workflows%252Fa.json",
    "/userdata/..%2Falice%2Fworkflows%2Fa.json",
    "/userdata/%2e%2e%2falice%2fworkflows%2fa.json",
    "/userdata/..%5calice%5cworkflows%5ca.json",
    "/userdata/%2Fworkflows%2Fa.json",
    "/userdata/workflows%2Fa.json%00",
    "/userdata?dir=workflows",
    "/api/userdata?dir=workflows&recurse=true&full_info=true",
    "/userdata?dir=.&recurse=true",
    "/userdata?dir=..&recurse=true",
    "/userdata?dir=..%2Falice&recurse=true",
    "/userdata?dir=workflows&dir=..%2Falice",
    "/userdata?dir=%252e%252e",
    "/v2/userdata",
    "/api/v2/userdata?path=workflows",
    "/v2/userdata?path=..",
    "/v2/userdata?path=../alice",
    "/v2/userdata?path=/",
    "/settings",
    "/api/settings",
    "/settings/Secret.Name",
    "/userdata/comfy.settings.json",
    "/users",
    "/api/users",
)


@pytest.mark.parametrize("header", [{}, {"Comfy-User": "alice"}, {"Comfy_User": "alice"}])
async def test_I20_no_address_shows_anothers_data(one: House, header: dict[str, str]) -> None:
    """I20 H05: by no alias, method or header does anything of alice's reach bob."""
    secret = "alices-secret"
    await one.ask("POST", FILE, by="alice", data=secret)
    await one.ask("POST", "/settings/Secret.Name", by="alice", json=secret)
    for path in ALIASES:
        for method in ("GET", "HEAD"):
            said = await one.ask(method, path, by="bob", headers=header)
            known = said.body + repr(sorted(said.headers.items())).encode()
            assert said.status < 500, path
            assert not [word for word in (b"secret", b"a.json", b"Secret", b"alice") if word in known], (method, path)
            assert method == "GET" or said.body == b"", path


async def test_I20_I21_no_address_changes_anothers_data(one: House) -> None:
    """I20 I21 P12: writes, moves and removals in every spelling leave alice's files as they were."""
    await one.ask("POST", FILE, by="alice", data="alices")
    await one.ask("POST", "/settings", by="alice", json={"a": 1})
    for path in ALIASES:
        for method, address in (("POST", path), ("DELETE", path), ("POST", f"{path}/move/x.json")):
            said = await one.ask(method, address, by="bob", data=b"{}", headers={"Comfy-User": "alice"})
            assert said.status < 500, (method, address)
    for target in ("..%2Fbob", "%2e%2e%2fbob", "..%5cbob", "..%252fbob", "%2Fbob", "a%2F..%2F..%2Fbob"):
        for address in (f"{FILE}/move/{target}", f"/userdata/{target}/move/x.json", f"/userdata/{target}"):
            assert (await one.ask("POST", address, by="alice", data=b"")).status == 400, address
    assert (await one.ask("GET", FILE, by="alice")).body == b"alices"
    assert (await one.ask("GET", "/settings", by="alice")).json() == {"a": 1}
    assert [file["path"] for file in (await one.ask("GET", "/v2/userdata", by="alice")).json()] == [
        "workflows",
        "workflows/a.json",
        "comfy.settings.json",
    ]


async def test_I22_nobody_is_listed_and_nobody_is_made(one: House) -> None:
    """I22: /users has the single-user form for everybody, and makes no users, not for administrators either."""
    for name in ("alice", "root"):
        assert (await one.ask("GET", "/users", by=name)).json() == {"storage": "server", "migrated": True}
        said = await one.ask("POST", "/users", by=name, json={"username": "eve"})
        assert (said.status, said.json()["error"]["type"]) == (403, "route_not_allowed")


async def test_I37_anothers_looks_like_nothing(one: House) -> None:
    """I37: what is alice's and what is nobody's are answered alike, whatever bob does with it."""
    await one.ask("POST", FILE, by="alice", data="alices")
    for method, suffix in (("GET", ""), ("HEAD", ""), ("DELETE", ""), ("POST", "/move/x.json")):
        theirs = await one.ask(method, FILE + suffix, by="bob")
        nobodys = await one.ask(method, FILE.replace("a.json", "b.json") + suffix, by="bob")
        assert (theirs.status, theirs.body) == (nobodys.status, nobodys.body) == (404, b"")


@pytest.mark.parametrize("ending", ["html", "xhtml", "svg", "xml", "js", "mht", "pdf", "HTML", "html.css.svg"])
async def test_X02_files_never_run_on_our_origin(one: House, ending: str) -> None:
    """X02 X07: whatever its name, a file is a download of a harmless type, in a sandbox, and no script."""
    await one.ask("POST", f"/userdata/x.{ending}", by="alice", data="<script>alert(1)</script>")
    said = await one.ask("GET", f"/userdata/x.{ending}", by="alice")
    assert said.headers["Content-Type"] == "application/octet-stream"
    assert said.headers["X-Content-Type-Options"] == "nosniff"
    assert said.headers["Content-Disposition"] == "attachment"
    assert said.headers["Content-Security-Policy"].startswith("sandbox;")
    assert "private" in said.headers["Cache-Control"] and "Cookie" in said.headers["Vary"]


async def test_the_users_stylesheet_works(both: House) -> None:
    """The editor links `user.css`; with nosniff a browser takes it for one only as text/css."""
    await both.ask("POST", "/userdata/user.css", by="alice", data="body { color: red }")
    said = await both.ask("GET", "/api/userdata/user.css", by="alice")
    assert (said.status, said.headers["Content-Type"], said.body) == (200, "text/css", b"body { color: red }")


async def test_a_file_that_is_known_is_not_sent_again(one: House) -> None:
    """With its ETag a file is 304 while it is the same; HEAD tells its length."""
    await one.ask("POST", FILE, by="alice", data="12345")
    etag = (await one.ask("GET", FILE, by="alice")).headers["ETag"]
    known = {"If-None-Match": etag}
    assert (await one.ask("GET", FILE, by="alice", headers=known)).status == 304
    head = await one.ask("HEAD", FILE, by="alice")
    assert (head.headers["Content-Length"], head.headers["ETag"], head.body) == ("5", etag, b"")
    await one.ask("POST", FILE, by="alice", data="54321")
    assert (await one.ask("GET", FILE, by="alice", headers=known)).body == b"54321"


async def test_answers_without_a_recording(both: House) -> None:
    """What was seen of both versions and not recorded: the same status and words; where ComfyUI fails, a 400."""
    await both.ask("POST", "/userdata/w%2Fs%2Fa.json", by="alice", data="1")
    for method, path, status, words in (
        ("GET", "/userdata", 400, "Directory not provided"),
        ("GET", "/userdata?dir=", 400, "Directory not provided"),
        ("GET", "/userdata?dir=..", 403, "Invalid directory"),
        ("GET", "/userdata?dir=none", 404, "Directory not found"),
        ("GET", "/userdata?dir=w%2Fs%2Fa.json", 200, "[]"),
        ("GET", "/v2/userdata?path=..", 400, "Invalid path requested"),
        ("GET", "/v2/userdata?path=none", 404, "Requested path not found"),
        ("GET", "/v2/userdata?path=w%2Fs%2Fa.json", 400, "Requested path is not a directory"),
        ("GET", "/userdata/w", 403, ""),
        ("DELETE", "/userdata/none", 404, ""),
        ("POST", "/userdata/none/move/x", 404, ""),
        ("POST", "/userdata/w%2Fs%2Fa.json/move/w?overwrite=false", 409, "File already exists"),
        ("POST", "/userdata/w%2Fs%2Fa.json?overwrite=FALSE", 200, '"w/s/a.json"'),
        ("GET", "/settings/unset", 200, "null"),
    ):
        said = await both.ask(method, path, by="alice")
        assert (said.status, said.body.decode()) == (status, words), path
    for method, path in (
        ("DELETE", "/userdata/w"),
        ("POST", "/userdata/w"),
        ("POST", "/userdata/w%2Fs%2Fa.json%2Fb"),
        ("POST", "/userdata/w/move/w%2Fx"),
    ):
        assert (await both.ask(method, path, by="alice")).status == 400, path


async def test_bad_settings_are_refused(one: House) -> None:
    """What is no JSON, or no object where several settings are meant, is 400 and changes nothing."""
    await one.ask("POST", "/settings", by="alice", json={"a": 1})
    for path, body in (("/settings", "[]"), ("/settings", "null"), ("/settings", "{"), ("/settings/a", "NaN")):
        assert (await one.ask("POST", path, by="alice", data=body)).status == 400
    await one.ask("POST", "/settings", by="alice", json={"b": {"c": None}, "a": 2})
    assert (await one.ask("GET", "/settings", by="alice")).json() == {"a": 2, "b": {"c": None}}
    assert (await one.ask("GET", "/settings/b", by="alice")).json() == {"c": None}


async def test_settings_are_one_file(one: House) -> None:
    """As in ComfyUI, all settings can be saved, put back and reset as the file comfy.settings.json."""
    await one.ask("POST", "/settings/a%2Fb", by="alice", json=1)
    kept = (await one.ask("GET", "/userdata/comfy.settings.json", by="alice")).body
    assert (await one.ask("DELETE", "/userdata/comfy.settings.json", by="alice")).status == 204
    assert (await one.ask("GET", "/settings", by="alice")).json() == {}
    await one.ask("POST", "/userdata/comfy.settings.json", by="alice", data=kept)
    assert (await one.ask("GET", "/settings/a%2Fb", by="alice")).json() == 1
    await one.ask("POST", "/userdata/comfy.settings.json", by="alice", data="nonsense")
    assert (await one.ask("GET", "/settings", by="alice")).json() == {}
    await one.ask("DELETE", "/userdata/comfy.settings.json", by="alice")
    await one.ask("POST", "/userdata/comfy.settings.json%2Fx", by="alice", data="in the way")
    assert (await one.ask("POST", "/settings/a", by="alice", json=1)).status == 400


async def test_the_quota_of_the_role_holds(one: House) -> None:
    """More than `user_data_mb` is 413 `storage_full`, settings included, and leaves what was there; deleting helps."""
    assert (await one.ask("POST", "/userdata/a", by="alice", data=io.BytesIO(b"x" * (MEBIBYTE - 10)))).status == 200
    for path, body in (
        ("/userdata/b", b"x" * 11),
        ("/userdata/a", io.BytesIO(b"y" * (MEBIBYTE + 1))),
        ("/settings/a", b"123456789"),
    ):
        said = await one.ask("POST", path, by="alice", data=body)
        assert (said.status, said.json()["error"]["type"]) == (413, "storage_full"), path
        assert said.json()["error"]["extra_info"] == {"limit": MEBIBYTE}
    assert (await one.ask("GET", "/userdata/a", by="alice")).body[:1] == b"x"
    assert (await one.ask("POST", "/userdata/b", by="bob", data=b"x" * 11)).status == 200
    await one.ask("DELETE", "/userdata/a", by="alice")
    assert (await one.ask("POST", "/settings/a", by="alice", data=b"123456789")).status == 200


async def test_E10_large_bodies_are_refused(one: House) -> None:
    """E10: a file over 8 MiB is 413, declared or chunked, before it is held; settings have one MiB."""

    async def pieces(size: int) -> AsyncIterator[bytes]:
        for _ in range(size // 65536 + 1):
            yield b"x" * 65536

    await one.user("mia", role="mover")
    assert (await one.ask("POST", "/userdata/a", by="mia", data=io.BytesIO(b"x" * 8 * MEBIBYTE))).status == 200
    for path, body in (
        ("/userdata/b", io.BytesIO(b"x" * (8 * MEBIBYTE + 1))),
        ("/userdata/b", pieces(8 * MEBIBYTE)),
        ("/settings", io.BytesIO(b'{"a":"%s"}' % (b"x" * MEBIBYTE))),
        ("/settings/a", b'"%s"' % (b"x" * (MEBIBYTE - 8))),
    ):
        said = await one.ask("POST", path, by="mia", data=body)
        assert (said.status, said.json()["error"]["type"]) == (413, "too_large"), path
    assert [file["path"] for file in (await one.ask("GET", "/v2/userdata", by="mia")).json()] == ["a"]


async def test_who_may_only_read_changes_nothing(one: House) -> None:
    """A role or token without `submit` reads its own data and is refused every change."""
    await one.user("gast", role="guest")
    for path in ("/settings", "/v2/userdata", "/userdata?dir=."):
        assert (await one.ask("GET", path, by="gast")).status == 200
    for row in TABLE:
        if row.mutates and row.pattern.startswith(("/settings", "/userdata")):
            path = row.pattern.replace("{file}", "a").replace("{dest}", "b").replace("{id}", "c")
            assert (await one.ask(row.method, path, by="gast", data=b"{}")).status == 403, path


async def test_everything_works_while_comfyui_is_down(both: House) -> None:
    """User data needs no ComfyUI; times keep the unit of the version that was there."""
    before = (await both.ask("POST", f"{FILE}?full_info=true", by="alice", data="1")).json()
    await both.simulator.crash()
    await until(lambda: not (both.gateway.works and both.gateway.works.connected))
    after = (await both.ask("POST", f"{FILE}?full_info=true", by="alice", data="1")).json()
    assert shape(after) == shape(before)
    assert (await both.ask("POST", "/settings/a", by="alice", json=1)).status == 200
    await both.simulator.start()
