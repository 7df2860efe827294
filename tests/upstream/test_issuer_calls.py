"""Questions to other people's servers, which may answer anything."""

import asyncio
import datetime
import gzip
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.errors import IssuerUnavailable
from gateway.upstream.issuer_calls import MOST_BYTES, IssuerCalls

BODIES = {
    "html": b"<html>",
    "nothing": b"",
    "binary": b"\xff\xfe",
    "deep": b"[" * 200_000,
    "long": b'"' + b"x" * MOST_BYTES + b'"',
    "cut": b'{"a":',
}


async def answer(request: web.Request) -> web.StreamResponse:
    name = request.match_info["name"]
    if name == "moved":
        return web.Response(status=302, headers={"Location": "/json"}, body=b"{}")
    if name == "compressed":
        return web.Response(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    if name == "silent":
        await asyncio.sleep(30)
    if name == "endless":
        stream = web.StreamResponse()
        await stream.prepare(request)
        while True:
            await stream.write(b" " * 65536)
    if name == "broken" and request.transport is not None:
        request.transport.close()
    if name in BODIES:
        return web.Response(body=BODIES[name])
    sent = {key.lower(): value for key, value in request.headers.items()}
    return web.json_response({"headers": sent, "body": await request.text()}, status=400 if name == "400" else 200)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{name}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_json_comes_back(url: str) -> None:
    """A document is read; a POST carries its form and its headers; another status is for the asker to judge."""
    calls = IssuerCalls()
    assert isinstance(await calls.get_json(f"{url}/json"), dict)
    said = await calls.ask("POST", f"{url}/400", headers={"Authorization": "Basic x"}, body="a=b")
    assert (said.status, said.document["body"]) == (400, "a=b")
    sent = said.document["headers"]
    assert (sent["authorization"], sent["accept"], sent["accept-encoding"]) == (
        "Basic x",
        "application/json",
        "identity",
    )
    assert said.date is not None
    with pytest.raises(IssuerUnavailable):
        await calls.get_json(f"{url}/400")


@pytest.mark.parametrize("name", [*BODIES, "moved", "compressed", "endless", "broken"])
async def test_whatever_comes_is_one_error(url: str, name: str) -> None:
    """What is no JSON, too long, compressed, elsewhere or cut is IssuerUnavailable and nothing else."""
    with pytest.raises(IssuerUnavailable):
        await IssuerCalls().get_json(f"{url}/{name}")


async def test_silence_ends(url: str) -> None:
    """Who does not answer is not waited for."""
    with pytest.raises(IssuerUnavailable):
        await asyncio.wait_for(IssuerCalls(seconds=0.3).get_json(f"{url}/silent"), 10)


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/", "http://nowhere.invalid/", "http://[::1", "ftp://x/", "http://x:99999/"]
)
async def test_nobody_there(address: str) -> None:
    """An address where nobody is, or that is none, is IssuerUnavailable."""
    with pytest.raises(IssuerUnavailable):
        await IssuerCalls().get_json(address)


async def test_the_environment_changes_nothing(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither a proxy nor a password of the environment is used."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login x password y\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    said = await IssuerCalls().ask("GET", f"{url}/json")
    assert "authorization" not in said.document["headers"]


async def test_a_reason_holds_no_secret(url: str) -> None:
    """What is logged of a failure names the address, and not what was sent there."""
    with pytest.raises(IssuerUnavailable) as caught:
        await IssuerCalls().ask("POST", f"{url}/html", headers={"Authorization": "Basic s3cret"}, body="code=s3cret")
    assert "s3cret" not in caught.value.reason and url in caught.value.reason


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """One for this machine that nobody else has signed: its file, and a server's context with it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "here")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    made = builder.add_extension(names, critical=False).sign(key, hashes.SHA256())
    file = folder / "certificate.pem"
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(plain + made.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return file, context


async def test_F20_only_who_proves_to_be_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A certificate that nobody trusts, or of another name, is no answer; one that SSL_CERT_FILE names is."""
    file, context = certificate(tmp_path)
    app = web.Application()
    app.router.add_get("/{name}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    with pytest.raises(IssuerUnavailable):
        await IssuerCalls().get_json(f"https://127.0.0.1:{port}/json")
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    trusting = IssuerCalls()
    assert isinstance(await trusting.get_json(f"https://127.0.0.1:{port}/json"), dict)
    with pytest.raises(IssuerUnavailable):
        await trusting.get_json(f"https://localhost:{port}/json")
    await runner.cleanup()
