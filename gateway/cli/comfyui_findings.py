"""What `check` says of ComfyUI: whether it answers, executes, keeps the time, and is nobody else's.

It does not know the gateway's users. A canary is a picture of its own, under a client id of its own, taken out of
ComfyUI's queue and history again.
"""

import asyncio
import ipaddress
import re
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final
from urllib.parse import urlsplit

import orjson

from gateway.cli.findings import Finding, fail, ok, warn
from gateway.errors import NobodyThere, UpstreamFault, UpstreamTimeout
from gateway.upstream.server import Outgoing, Server
from gateway.upstream.socket import EventSocket

SUBJECT: Final = "ComfyUI"
ANSWER_SECONDS: Final = 10.0
CANARY_SECONDS: Final = 60.0
POLL_SECONDS: Final = 0.2
CONNECT_SECONDS: Final = 2.0
SKEW_SECONDS: Final = 5.0
OLDEST: Final = (0, 3, 64)
LAST_JOBS: Final = 50
OURS: Final = "gateway-check-"
"""How the client ids of `check` begin, so that it does not take its own canary for a stranger's."""


async def comfyui(url: str, *, ours: str | None, run: bool, now: Callable[[], float]) -> list[Finding]:
    """Everything about the server at `url`; `ours` is the gateway's client id there, None if it never was there.

    `run` executes a canary; `now` is in seconds since 1970.
    """
    found: list[Finding] = []
    async with _connected(url) as server:
        try:
            stats = await server.get_json("/system_stats", timeout=ANSWER_SECONDS)
            system = stats.get("system") if isinstance(stats, dict) else None
            if not isinstance(system, dict):
                return [fail(SUBJECT, f"something else than ComfyUI answers at {url}", "Correct the setting comfyui.")]
            found += [_version(url, system), await _events(url), *await _clock(server, now)]
            found += [*await _strangers(server, ours), *await _exposure(url)]
            found.append(await canary(server) if run else ok(SUBJECT, "not asked to execute anything; --run does"))
        except UpstreamFault as fault:
            found.append(_unreachable(url, fault))
    return found


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Server]:
    server = Server(url)
    await server.start()
    try:
        yield server
    finally:
        await server.close()


def _unreachable(url: str, fault: UpstreamFault) -> Finding:
    if isinstance(fault, NobodyThere):
        return fail(SUBJECT, f"nobody listens at {url}", "Start ComfyUI, or correct the setting comfyui.")
    if isinstance(fault, UpstreamTimeout):
        words = f"{url} is silent for {ANSWER_SECONDS:.0f} s"
        return fail(SUBJECT, words, "It may be loading a large model: check again; if it stays so, restart it.")
    words = f"{url}: {fault.message} {fault.reason}".strip()
    return fail(SUBJECT, words, "Correct the setting comfyui, or the network between.")


def _version(url: str, system: Mapping[str, Any]) -> Finding:
    said = str(system.get("comfyui_version", ""))
    numbers = re.match(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})", said)
    if numbers is None:
        return warn(SUBJECT, f"answers at {url} and does not say its version", "Update ComfyUI.")
    oldest = ".".join(str(number) for number in OLDEST)
    if tuple(int(number) for number in numbers.groups()) < OLDEST:
        return warn(SUBJECT, f"answers at {url}, version {said}", f"Update it: {oldest} is the oldest that was tried.")
    return ok(SUBJECT, f"answers at {url}, version {said}")


async def _events(url: str) -> Finding:
    try:
        events = await EventSocket.connect(url, OURS + secrets.token_hex(8), open_timeout=ANSWER_SECONDS)
        await events.close()
    except UpstreamFault as fault:
        remedy = "See whether something between it and the gateway does not pass websockets on."
        return fail(SUBJECT, f"its websocket does not open: {fault.reason or fault.message}", remedy)
    return ok(SUBJECT, "its websocket opens")


async def _clock(server: Server, now: Callable[[], float]) -> Iterator[Finding]:
    answer = await server.exchange(Outgoing("GET", b"/system_stats", idle_timeout=ANSWER_SECONDS))
    dates = [value.decode("latin-1") for name, value in answer.headers if name.lower() == b"date"]
    await answer.release()
    return _skew(dates, now())


def _skew(dates: list[str], now: float) -> Iterator[Finding]:
    with suppress(ValueError, IndexError):
        skew = parsedate_to_datetime(dates[0]).timestamp() - now
        if abs(skew) > SKEW_SECONDS:
            words = f"ComfyUI's is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
            yield warn("clock", words, "Let both machines follow a time server (chrony, systemd-timesyncd).")
        else:
            yield ok("clock", "ComfyUI's agrees with ours")


async def _strangers(server: Server, ours: str | None) -> list[Finding]:
    """Jobs that did not come through the gateway: whoever submits them sees everybody's."""
    if ours is None:
        return []
    try:
        queue = await server.get_json("/queue", timeout=ANSWER_SECONDS)
        history = await server.get_json(f"/history?max_items={LAST_JOBS}", timeout=ANSWER_SECONDS)
        items = [*queue["queue_running"], *queue["queue_pending"], *(entry["prompt"] for entry in history.values())]
        strange = [item for item in items if not _is_known(item[3].get("client_id"), ours)]
    except (UpstreamFault, KeyError, TypeError, IndexError, AttributeError):
        return [warn(SUBJECT, "its queue cannot be read", "Look into ComfyUI's log.")]
    if strange:
        words = f"{len(strange)} of its last jobs did not come through this gateway"
        return [warn(SUBJECT, words, "Somebody uses it directly and sees everybody's: close that way.")]
    return [ok(SUBJECT, "its last jobs all came through this gateway")]


def _is_known(client_id: object, ours: str) -> bool:
    return client_id == ours or str(client_id).startswith(OURS)


async def _exposure(url: str) -> list[Finding]:
    """Whether others can go round the gateway. Only what can be seen from here: a firewall is not seen."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    addresses = await _addresses(parts.hostname or "", port)
    if any(address.is_global for address in addresses):
        remedy = "Move it to a private network that only the gateway reaches."
        return [fail(SUBJECT, f"{url} is a public address", remedy)]
    if not all(address.is_loopback for address in addresses):
        return [ok(SUBJECT, "on a private address; see that only the gateway can reach it")]
    own = own_address()
    if own is None or not await _listens(own, port):
        return [ok(SUBJECT, "listens for this machine only")]
    words = f"also listens at {own}:{port}, where no gateway asks who comes"
    remedy = "Start it without --listen, or with --listen 127.0.0.1, or close the port to others."
    return [(fail if ipaddress.ip_address(own).is_global else warn)(SUBJECT, words, remedy)]


async def _addresses(host: str, port: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    with suppress(OSError):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(address[0]) for *_, address in found]
    return []


def own_address() -> str | None:
    """The address under which this machine is seen by others, if it has one; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return None


async def _listens(host: str, port: int) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
        return True
    return False


async def canary(server: Server) -> Finding:
    """A picture of 64 pixels, executed and taken out of the history again. It waits for its turn like any other job."""
    prompt_id = str(uuid.uuid4())
    try:
        reply = await server.send_json("POST", "/prompt", _picture(prompt_id), timeout=ANSWER_SECONDS)
        if reply.status != 200:
            remedy = "Look into ComfyUI's log: its own nodes EmptyImage and PreviewImage are missing or broken."
            return fail(SUBJECT, f"does not accept a picture: status {reply.status}", remedy)
        try:
            return await _executed(server, prompt_id)
        finally:
            await _taken_out(server, prompt_id)
    except (UpstreamFault, KeyError, TypeError, IndexError) as fault:
        return fail(SUBJECT, f"does not execute a picture: {fault}", "Look into ComfyUI's log.")


def _picture(prompt_id: str) -> bytes:
    """In a colour of its own, so that it is not in the cache."""
    color = secrets.randbelow(1 << 24)
    image = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": color}}
    shown = {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}
    client_id = OURS + secrets.token_hex(8)
    return orjson.dumps({"prompt": {"1": image, "2": shown}, "prompt_id": prompt_id, "client_id": client_id})


async def _executed(server: Server, prompt_id: str) -> Finding:
    with suppress(TimeoutError):
        async with asyncio.timeout(CANARY_SECONDS):
            while True:
                history = await server.get_json(f"/history/{prompt_id}", timeout=ANSWER_SECONDS)
                if prompt_id in history:
                    return _outcome(history[prompt_id])
                await asyncio.sleep(POLL_SECONDS)
    queue = await server.get_json("/queue", timeout=ANSWER_SECONDS)
    words = f"did not execute a picture in {CANARY_SECONDS:.0f} s"
    if any(item[1] != prompt_id for item in queue["queue_running"]):
        return warn(SUBJECT, f"{words}, but works on another job", "Check again when that has ended.")
    return fail(SUBJECT, words, "It answers, but executes nothing: restart ComfyUI.")


def _outcome(entry: Mapping[str, Any]) -> Finding:
    if (entry.get("status") or {}).get("status_str") == "success":
        return ok(SUBJECT, "executes")
    return fail(SUBJECT, "fails to execute a picture of its own nodes", "Look into ComfyUI's log.")


async def _taken_out(server: Server, prompt_id: str) -> None:
    body = orjson.dumps({"delete": [prompt_id]})
    for path in ("/queue", "/history"):
        with suppress(UpstreamFault):
            await server.send_json("POST", path, body, timeout=ANSWER_SECONDS)
