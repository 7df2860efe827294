"""Nobody there: the one fault that tells that a server's process is gone, and not only silent."""

import asyncio
import errno
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from gateway.errors import NobodyThere, NoServer
from gateway.upstream.faults import is_refusal
from gateway.upstream.server import Server
from gateway.upstream.socket import EventSocket

NAME = "comfyui.test"


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        found = listener.getsockname()[1]
    yield found


@pytest.fixture
async def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the name stand for some addresses."""

    def stands_for(*addresses: str) -> None:
        async def lookup(host: str, port: int, **_: Any) -> list[Any]:
            family = {True: socket.AF_INET6, False: socket.AF_INET}
            return [(family[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", lookup)

    return stands_for


async def connect(url: str) -> None:
    await EventSocket.connect(url, "me", open_timeout=1)


async def ask(url: str) -> None:
    server = Server(url, connect_timeout=1)
    await server.start()
    try:
        await server.get_json("/queue", timeout=2)
    finally:
        await server.close()


WAYS = pytest.mark.parametrize("way", [connect, ask])
# uvloop looks a name up where no test can answer.
RESOLVED = pytest.mark.asyncio(loop_factories=["asyncio"])


@WAYS
@RESOLVED
async def test_a_name_with_several_addresses_that_all_refuse_is_nobody_there(
    resolved: Callable[..., None], port: int, way: Callable[[str], Any]
) -> None:
    """`localhost` is two addresses: when both refuse, nobody is there."""
    resolved("127.0.0.1", "127.0.0.2")
    with pytest.raises(NobodyThere) as caught:
        await way(f"http://{NAME}:{port}")
    assert caught.value.sent is False


@WAYS
@RESOLVED
async def test_one_address_that_is_silent_is_not_nobody_there(
    resolved: Callable[..., None], way: Callable[[str], Any]
) -> None:
    """While one of its addresses may only be silent, a server is not known to be gone."""
    with closing(socket.socket()) as full, closing(socket.socket()) as filler:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        filler.connect(full.getsockname())
        resolved("127.0.0.2", "127.0.0.1")
        with pytest.raises(NoServer) as caught:
            await way(f"http://{NAME}:{full.getsockname()[1]}")
    assert not isinstance(caught.value, NobodyThere)


@WAYS
async def test_a_name_that_nobody_knows_is_not_nobody_there(way: Callable[[str], Any]) -> None:
    """A name that cannot be resolved says nothing about the process."""
    with pytest.raises(NoServer) as caught:
        await way("http://nowhere.invalid:8188")
    assert not isinstance(caught.value, NobodyThere)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), True),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed"), True),
        (OSError("Multiple exceptions: [Errno 99] Cannot assign, [Errno 111] Connect call failed"), True),
        (OSError("Multiple exceptions: [Errno 110] Timed out, [Errno 111] Connect call failed"), False),
        (OSError("Multiple exceptions: [Errno 113] No route to host, [Errno 111] Connect call failed"), False),
        (OSError("Multiple exceptions: [Errno 99] Cannot assign, [Errno 97] Not supported"), False),
        (OSError(errno.EHOSTUNREACH, "No route to host"), False),
        (ConnectionResetError(errno.ECONNRESET, "reset"), False),
        (TimeoutError(), False),
        (ValueError("[Errno 111]"), False),
    ],
)
def test_a_refusal_is_one_at_every_address(error: Exception, *, refused: bool) -> None:
    """Refused at each address that could be asked; anything else may be a server that is only silent."""
    assert is_refusal(error) is refused
