"""`comfy-gateway check`, in front of the simulated ComfyUI and of real sockets that misbehave."""

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.cli import comfyui_findings, database_findings, door_findings
from gateway.cli.findings import Finding
from gateway.config import Settings
from gateway.demo.server import Simulator
from gateway.store import Store
from gateway.upstream.server import Server
from tests.cli.conftest import Look, Run
from tests.raw_server import Connection, serving

NOW = 1_800_000_000.0
VERSIONS = ("0.28.1", "0.3.64")
NOBODY = "http://127.0.0.1:9"


def levels(found: list[Finding], text: str = "") -> list[str]:
    """The levels of the findings that say this; each that is not well says what to do."""
    assert all(bool(finding.remedy) == (finding.level != "ok") for finding in found)
    return [finding.level for finding in found if text in finding.words]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address but loopback is tried."""
    monkeypatch.setattr(comfyui_findings, "own_address", lambda: None)


@pytest.fixture(params=VERSIONS)
async def sim(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Simulator]:
    made = Simulator(version=request.param, directory=tmp_path / "comfyui", seconds_per_step=0.01)
    await made.start()
    yield made
    await made.stop()


async def look_at(url: str, *, ours: str | None = None, run: bool = False, ahead: float = 0.0) -> list[Finding]:
    def now() -> float:
        return datetime.datetime.now().timestamp() + ahead

    return await comfyui_findings.comfyui(url, ours=ours, run=run, now=now)


# The command


def test_before_the_first_start(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing set up and no ComfyUI it says so, exits with 1, tells what to do, and makes nothing."""
    monkeypatch.setenv("GATEWAY_COMFYUI", NOBODY)
    ran = run("check")
    assert ran.code == 1 and ran.err == ""
    assert f"fail  ComfyUI      nobody listens at {NOBODY}" in ran.out
    assert "warn  database" in ran.out and "The first “serve” makes it." in ran.out
    assert list(tmp_path.iterdir()) == []


def test_bad_settings_are_each_said(run: Run, tmp_path: Path) -> None:
    """Settings that cannot be used are a line each, and exit code 1."""
    (tmp_path / "gateway.toml").write_text('port = "x"\nbogus = 1\n')
    ran = run("check")
    assert ran.code == 1 and ran.out.count("fail  settings") == 2 and ran.err == ""


def test_all_is_well(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Look) -> None:
    """A gateway that was set up, in front of a ComfyUI that executes: exit code 0, and no line but of what is well."""
    run("user", "add", "ann", "--role", "admin", "--password-stdin", stdin="a password of hers\n")
    started: list[list[Finding]] = []

    async def looked(*_: object, **more: Any) -> list[Finding]:
        simulator = Simulator(directory=tmp_path / "comfyui")
        await simulator.start()
        monkeypatch.setenv("GATEWAY_COMFYUI", simulator.url)
        started.append(await real(simulator.url, **more))
        await simulator.stop()
        return started[-1]

    real = comfyui_findings.comfyui
    monkeypatch.setattr(comfyui_findings, "comfyui", looked)
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "6Zk2hQ9w-Rb7XcL4m_TfV1sY8pJ3nUeA0dGi5oK")
    monkeypatch.setenv("GATEWAY_PORT", "9")
    ran = run("check", "--run")
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert {line[:4] for line in ran.out.splitlines()} == {"ok  "}, ran.out
    assert "executes" in ran.out and "1, of whom 1 can administer" in ran.out
    assert "6Zk2hQ9w" not in ran.out


# The database


def settings(tmp_path: Path, **more: Any) -> Settings:
    return Settings(data_dir=tmp_path / "data", **more)


async def test_the_database(tmp_path: Path) -> None:
    """A database without administrators, or with roles that the settings lost, is a warning; one that lacks migrations
    or cannot be written fails."""
    asked = settings(tmp_path)
    url = f"sqlite:///{tmp_path / 'data' / 'gateway.db'}"
    async with await Store.open(url) as store:
        await store.users.add("ann", role="artist", now=1.0, random=lambda size: b"a" * size)
    found = await database_findings.database(asked)
    assert levels(found, "takes writes") == ["ok"]
    assert levels(found, "artist") == ["warn"] and levels(found, "none that administers") == ["warn"]
    async with await Store.open(url) as store, store.write() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
    found = await database_findings.database(asked)
    assert levels(found) == ["fail"] and "db upgrade" in found[0].words
    (tmp_path / "data" / "gateway.db").write_bytes(b"no database" * 1000)
    assert levels(await database_findings.database(asked)) == ["fail"]


async def test_a_database_that_takes_no_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk shows: a write is tried, not only a read."""
    async with await Store.open(f"sqlite:///{tmp_path / 'data' / 'gateway.db'}") as store:
        before = store.changes.version()
        await store.prove_writable()
        assert store.changes.version() == before, "nobody is looked up anew because of it"

        async def full(store: Store) -> None:
            async with store.write() as connection:
                await connection.exec_driver_sql("PRAGMA max_page_count = 1")
                await connection.exec_driver_sql("CREATE TABLE more AS SELECT zeroblob(100000)")

        monkeypatch.setattr(Store, "prove_writable", full)
        found = await database_findings.database(settings(tmp_path))
        assert levels(found, "full") == ["fail"]


def test_keys_that_others_can_read(tmp_path: Path) -> None:
    """A file of keys that others can read fails; so does one that is none."""
    asked = settings(tmp_path)
    assert levels(database_findings.keys(asked)) == ["warn"]
    path = tmp_path / "data" / "keys.json"
    path.parent.mkdir()
    path.write_text("{}")
    path.chmod(0o644)
    assert levels(database_findings.keys(asked), "other users") == ["fail"]
    path.chmod(0o600)
    assert levels(database_findings.keys(asked), "is not a file of keys") == ["fail"]


def test_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than a GiB free is a warning, next to nothing fails."""
    for free, level in ((2000, []), (500, ["warn"]), (1, ["fail"])):
        usage = type("Usage", (), {"free": free * 1024 * 1024})
        monkeypatch.setattr(database_findings.shutil, "disk_usage", lambda _, usage=usage: usage)
        assert levels(list(database_findings._room(tmp_path / "gateway.db"))) == level


# ComfyUI


async def test_a_good_comfyui(sim: Simulator) -> None:
    """It is reachable, says its version, opens its socket, keeps the time; it is asked to execute nothing."""
    found = await look_at(sim.url, ours="the gateway")
    assert levels(found) == ["ok"] * len(found) and levels(found, "not asked to execute") == ["ok"]
    assert levels(found, "version ") and levels(found, "websocket opens") and levels(found, "agrees")
    assert not [entry for entry in sim.log if entry.kind == "queued"]


async def test_the_canary(sim: Simulator) -> None:
    """With --run a picture is executed, once, and leaves nothing in queue and history."""
    found = await look_at(sim.url, run=True)
    assert levels(found, "executes") == ["ok"]
    assert len([entry for entry in sim.log if entry.kind == "finished"]) == 1
    async with asked(sim.url) as server:
        assert await server.get_json("/history", timeout=5) == {}
    assert levels(await look_at(sim.url, ours="the gateway"), "through this gateway") == ["ok"]


async def test_a_comfyui_that_executes_nothing(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that takes a job and never runs it fails; one that is busy with another's is a warning. The canary is taken
    out of the queue in both cases."""
    monkeypatch.setattr(comfyui_findings, "CANARY_SECONDS", 0.5)
    async with asked(sim.url) as server:
        busy = {"1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}}}
        busy["2"] = {"class_type": "LabSlow", "inputs": {"image": ["1", 0], **SLOW}}
        busy["3"] = {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}}
        body = json.dumps({"prompt": busy, "client_id": "somebody"}).encode()
        assert (await server.send_json("POST", "/prompt", body, timeout=5)).status == 200
        found = await look_at(sim.url, run=True, ours="the gateway")
        assert levels(found, "works on another job") == ["warn"]
        assert levels(found, "did not come through this gateway") == ["warn"]
        assert (await server.get_json("/queue", timeout=5))["queue_pending"] == []


SLOW = {"seconds": 30.0, "steps": 1, "previews": False, "text": False, "nonce": "x"}


async def test_a_dead_worker() -> None:
    """One that accepts and answers, and whose queue never moves, is to be restarted."""
    taken: list[bytes] = []

    async def script(connection: Connection) -> None:
        await respond(connection, answer_of(connection, taken))

    async with serving(script) as fake, asked(fake.url) as server:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(comfyui_findings, "CANARY_SECONDS", 0.3)
            found = await comfyui_findings.canary(server)
    assert found.level == "fail" and "restart ComfyUI" in found.remedy
    assert [head.split()[1] for head in taken] == [b"/prompt", b"/queue", b"/history"]


def answer_of(connection: Connection, taken: list[bytes]) -> object:
    if connection.head.startswith(b"POST"):
        taken.append(connection.head)
        return {"prompt_id": "x", "number": 1, "node_errors": {}}
    return {"queue_running": [], "queue_pending": []} if b"/queue" in connection.head else {}


async def respond(connection: Connection, value: object, *lines: bytes) -> None:
    """One answer in JSON, after the request's body was read."""
    length = [line for line in connection.head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if length:
        await connection.reader.readexactly(int(length[0].partition(b":")[2]))
    body = json.dumps(value).encode()
    head = [b"HTTP/1.1 200 OK", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *lines]
    await connection.write(b"\r\n".join([*head, b"", body]))
    connection.keep = True


@asynccontextmanager
async def asked(url: str) -> AsyncIterator[Server]:
    server = Server(url)
    await server.start()
    yield server
    await server.close()


async def test_what_is_no_comfyui() -> None:
    """Something else that answers, and nobody who does, fail; so does silence, with another advice."""
    assert levels(await look_at(NOBODY), "nobody listens") == ["fail"]

    async def other(connection: Connection) -> None:
        await respond(connection, {"hello": "world"})

    async def silent(connection: Connection) -> None:
        await connection.until_closed()

    async with serving(other) as fake:
        assert levels(await look_at(fake.url), "something else") == ["fail"]
    async with serving(silent) as fake:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(comfyui_findings, "ANSWER_SECONDS", 0.3)
            found = await look_at(fake.url)
        assert levels(found, "silent") == ["fail"] and "loading a large model" in found[0].remedy


@pytest.mark.parametrize(("said", "level"), [("0.3.63", "warn"), ("0.3.64", "ok"), ("1.0.0", "ok"), ("", "warn")])
async def test_the_version(said: str, level: str) -> None:
    """Versions older than the oldest that was tried, and those that are not said, are a warning."""

    async def script(connection: Connection) -> None:
        await respond(connection, {"system": {"comfyui_version": said}})

    async with serving(script) as fake:
        assert (await look_at(fake.url))[0].level == level


@pytest.mark.parametrize(("ahead", "level"), [(0.0, "ok"), (3.0, "ok"), (60.0, "warn"), (-60.0, "warn")])
async def test_the_clock(tmp_path: Path, ahead: float, level: str) -> None:
    """A clock that differs from ComfyUI's by more than seconds is a warning that says which way."""
    simulator = Simulator(directory=tmp_path)
    await simulator.start()
    found = [finding for finding in await look_at(simulator.url, ahead=ahead) if finding.subject == "clock"]
    await simulator.stop()
    assert levels(found) == [level]
    assert ("behind" in found[0].words, "ahead" in found[0].words) == (ahead > 5, ahead < -5)


async def test_a_comfyui_that_others_reach(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """One on this machine that also listens where others come is a warning, one at a public address fails; one for this
    machine alone is well."""
    assert levels(await comfyui_findings._exposure(sim.url), "this machine only") == ["ok"]
    monkeypatch.setattr(comfyui_findings, "own_address", lambda: "127.0.0.1")
    assert levels(await comfyui_findings._exposure(sim.url), "no gateway asks") == ["warn"]
    assert levels(await comfyui_findings._exposure("http://8.8.8.8:8188"), "public") == ["fail"]
    assert levels(await comfyui_findings._exposure("http://10.0.0.7:8188"), "private") == ["ok"]


# The door


async def at_the_door(tmp_path: Path, *, now: float = NOW, **more: Any) -> list[Finding]:
    return await door_findings.door(settings(tmp_path, **{"port": 0, **more}), now=lambda: now)


async def test_where_it_listens(tmp_path: Path) -> None:
    """This machine alone is well, others without HTTPS a warning, and so is a public_url without it."""
    assert levels(await at_the_door(tmp_path)) == ["ok"]
    assert levels(await at_the_door(tmp_path, host="0.0.0.0"), "in the clear") == ["warn"]
    assert levels(await at_the_door(tmp_path, public_url="http://gw.example"), "in the clear") == ["warn"]
    assert levels(await at_the_door(tmp_path, public_url="http://localhost:8190"), "this machine only") == ["ok", "ok"]


@pytest.mark.parametrize(
    ("proxies", "level"), [(["127.0.0.1"], "ok"), (["10.1.2.0/24"], "ok"), (["10.0.0.0/8"], "warn"), ([], "warn")]
)
async def test_proxies(tmp_path: Path, proxies: list[str], level: str) -> None:
    """A wide network of trusted proxies, and none where there must be one, are warnings."""
    found = await at_the_door(tmp_path, public_url="http://localhost", trusted_proxies=proxies)
    assert levels([finding for finding in found if finding.subject == "proxies"])[0] == level


async def test_the_gateway_itself(tmp_path: Path) -> None:
    """Whether the gateway runs where the settings say is told; something else at its port fails."""
    said: object = {"status": "ready"}

    async def script(connection: Connection) -> None:
        await respond(connection, said)

    async with serving(script) as fake:
        port = int(fake.url.rpartition(":")[2])
        for value, level in (({"status": "ready"}, "ok"), ({"status": "unavailable"}, "warn"), (["x"], "fail")):
            said = value
            found = await at_the_door(tmp_path, port=port)
            assert levels([finding for finding in found if finding.subject == "gateway"]) == [level]
    assert levels(await at_the_door(tmp_path, port=port), "does not run") == ["ok"]


@pytest.fixture
def certificate(tmp_path: Path) -> Callable[[str, datetime.datetime], Path]:
    """A certificate that signs itself, for one name, with its key in the same file."""

    def made(name: str, until: datetime.datetime) -> Path:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
        begun = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=2)
        builder = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begun, until)
        names = x509.SubjectAlternativeName([x509.DNSName(name)])
        signed = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
        path = tmp_path / f"{name}.pem"
        path.write_bytes(
            signed.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return path

    return made


@asynccontextmanager
async def https(pem: Path) -> AsyncIterator[str]:
    """A server with this certificate that answers like a healthy gateway."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"ok"}')
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    yield f"https://localhost:{listener.sockets[0].getsockname()[1]}"
    listener.close()


async def test_tls(
    tmp_path: Path, certificate: Callable[[str, datetime.datetime], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The certificate of public_url is verified as browsers do: one of nobody, for another name or that has ended
    fails, one that ends soon is a warning; and the address must lead to a gateway."""
    now = datetime.datetime.now(datetime.UTC)

    async def seen(name: str, days: int, *, trusted: bool = True) -> list[Finding]:
        pem = certificate(name, now + datetime.timedelta(days=days, hours=1))
        monkeypatch.setenv("SSL_CERT_FILE", str(pem if trusted else certificate("other", now)))
        async with https(pem) as url:
            found = await at_the_door(tmp_path, now=now.timestamp(), public_url=url, trusted_proxies=["127.0.0.1"])
        return [finding for finding in found if finding.subject in ("TLS", "public_url")]

    assert levels(await seen("localhost", 60), "good for 60 days") == ["ok"]
    assert levels(await seen("localhost", 5), "ends in 5 days") == ["warn"]
    assert levels(await seen("localhost", 60, trusted=False)) == ["fail"]
    assert levels(await seen("elsewhere.example", 60)) == ["fail"]
    assert levels(await seen("localhost", -1), "expired") == ["fail"]
    nobody = await at_the_door(tmp_path, public_url="https://localhost:9")
    assert levels(nobody, "cannot be reached") == ["fail"]
