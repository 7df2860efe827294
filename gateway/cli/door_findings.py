"""What `check` says of the way in: where the gateway listens, what browsers see, TLS, and which proxies are believed.

It does not know what is behind the door.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from gateway.cli.findings import Finding, fail, ok, warn
from gateway.config import Settings
from gateway.errors import NobodyThere, UpstreamFault
from gateway.upstream.reply import Reply
from gateway.upstream.server import Server

ANSWER_SECONDS: Final = 5.0
SOON_DAYS: Final = 14
DAY: Final = 86400
WIDE: Final = {4: 16, 6: 48}
"""A network with fewer bits than this, by version of IP, holds more than somebody's proxies."""
EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


async def door(settings: Settings, *, now: Callable[[], float]) -> list[Finding]:
    """Everything about it. `now` is in seconds since 1970."""
    return [
        *await _running(settings),
        _listening(settings),
        *await _public(settings, now=now()),
        *_proxies(settings),
    ]


async def _running(settings: Settings) -> list[Finding]:
    if settings.port == 0:
        return []
    here = f"{EVERYWHERE.get(settings.host, settings.host)}:{settings.port}"
    try:
        reply = await _asked(f"http://{here}", "/gateway/readyz")
    except NobodyThere:
        return [ok("gateway", f"does not run at {here} now")]
    except UpstreamFault as fault:
        return [fail("gateway", f"{here}: {fault.reason or fault.message}", "Restart it, and look into its log.")]
    status = _status(reply)
    if status == "ready":
        return [ok("gateway", f"runs at {here} and is ready")]
    if status == "unavailable":
        remedy = "See what else is said here of the database and of ComfyUI."
        return [warn("gateway", f"runs at {here} and is not ready", remedy)]
    return [fail("gateway", f"something else listens at {here}", "Choose another port.")]


def _listening(settings: Settings) -> Finding:
    if is_here(settings.host):
        return ok("listening", f"on {settings.host}: for this machine only")
    if (settings.public_url or "").startswith("https:"):
        return ok("listening", f"on {settings.host}, behind {settings.public_url}")
    remedy = "Put a server with HTTPS in front, set public_url to its address, and listen on 127.0.0.1."
    return warn("listening", f"on {settings.host}, where passwords and tokens come in the clear", remedy)


async def _public(settings: Settings, *, now: float) -> list[Finding]:
    url = settings.public_url
    if url is None:
        return []
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        if is_here(host):
            return [ok("public_url", f"{url}: this machine only")]
        remedy = "Put a server with HTTPS in front, and set public_url to its https address."
        return [warn("public_url", f"{url}: passwords and tokens go over the network in the clear", remedy)]
    try:
        certificate = await _certificate(host, parts.port or 443)
    except ssl.SSLCertVerificationError as error:
        remedy = "Renew the certificate, or give it this name; browsers refuse it too."
        return [fail("TLS", f"{url}: {error.verify_message}", remedy)]
    except (OSError, TimeoutError) as error:
        words = f"{url} cannot be reached: {str(error) or 'no answer'}"
        return [fail("TLS", words, "Start the server in front of the gateway, or correct public_url.")]
    return [_lifetime(url, certificate, now), await _leads_here(url)]


async def _certificate(host: str, port: int) -> Any:
    """The server's, verified as a browser does. Raises SSLCertVerificationError, OSError, TimeoutError."""
    async with asyncio.timeout(ANSWER_SECONDS):
        _, writer = await asyncio.open_connection(host, port, ssl=ssl.create_default_context())
    certificate = writer.get_extra_info("peercert")
    writer.transport.abort()
    return certificate


def _lifetime(url: str, certificate: Any, now: float) -> Finding:
    days = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - now) // DAY)
    if days < SOON_DAYS:
        remedy = "Renew it, and see why that does not happen by itself."
        return warn("TLS", f"{url}: the certificate ends in {days} days", remedy)
    return ok("TLS", f"{url}: the certificate is good for {days} days")


async def _leads_here(url: str) -> Finding:
    try:
        leads = _status(await _asked(url, "/gateway/healthz")) == "ok"
    except UpstreamFault:
        leads = False
    if leads:
        return ok("public_url", f"{url} leads to the gateway")
    remedy = "Start it, or let the server in front pass requests on to it."
    return warn("public_url", f"{url} does not lead to a gateway now", remedy)


def _proxies(settings: Settings) -> Iterator[Finding]:
    networks = [ipaddress.ip_network(text) for text in settings.trusted_proxies]
    for network in networks:
        if network.prefixlen < WIDE[network.version] and not network.is_loopback:
            words = f"{network} is wide: whoever is in it can claim any address"
            yield warn("proxies", words, "List the addresses of your proxies in trusted_proxies, and no others.")
    if settings.public_url is not None and not networks:
        words = "none is trusted, so everybody seems to come from the server in front, and is slowed down together"
        yield warn("proxies", words, "Set trusted_proxies to its address, and let it set X-Forwarded-For.")
    elif networks:
        yield ok("proxies", f"believed: {', '.join(settings.trusted_proxies)}")


async def _asked(url: str, path: str) -> Reply:
    server = Server(url)
    await server.start()
    try:
        return await server.send_json("GET", path, None, timeout=ANSWER_SECONDS)
    finally:
        await server.close()


def _status(reply: Reply) -> str:
    """What our own health addresses say; nothing, for what is none of ours."""
    try:
        said = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return ""
    return str(said.get("status", "")) if isinstance(said, dict) else ""


def is_here(host: str) -> bool:
    """Whether only this machine reaches it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
