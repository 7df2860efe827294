"""The event socket to ComfyUI."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing

import pytest
from websockets.asyncio.server import Server as Listener
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from gateway.errors import NobodyThere, NoServer, UpstreamFault
from gateway.upstream.socket import EventSocket

Handler = Callable[[ServerConnection], Awaitable[None]]


@pytest.fixture
async def comfyui() -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Start a websocket server with this handler; gives its http address."""
    listeners: list[Listener] = []

    async def start(handler: Handler, **more) -> str:
        listener = await serve(handler, "127.0.0.1", 0, **more)
        listeners.append(listener)
        return f"http://127.0.0.1:{next(iter(listener.sockets)).getsockname()[1]}"

    yield start
    for listener in listeners:
        listener.close()
        await listener.wait_closed()


async def test_frames_arrive_as_they_are_and_in_order(comfyui) -> None:
    """Text and binary frames, also one of 3 MB, which websockets' own limit would refuse."""
    picture = bytes(3_000_000)

    async def handler(connection: ServerConnection) -> None:
        await connection.send('{"type": "status"}')
        await connection.send(picture)
        await connection.wait_closed()

    socket = await EventSocket.connect(await comfyui(handler), "me")
    frames = aiter(socket)
    assert [await anext(frames), await anext(frames)] == ['{"type": "status"}', picture]
    await socket.close()


async def test_the_handshake_carries_the_client_id_and_nothing_that_comfyui_would_judge(comfyui) -> None:
    """One query parameter, whatever is in the id; no Origin, no extensions, no name of a library."""
    seen: list[Request] = []

    async def handler(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request)
        await connection.wait_closed()

    socket = await EventSocket.connect(await comfyui(handler), "a&b=c/é #")
    await socket.close()
    assert seen[0].path == "/ws?clientId=a%26b%3Dc%2F%C3%A9%20%23"
    unwanted = ("Origin", "Sec-WebSocket-Extensions", "User-Agent", "Cookie")
    assert [name for name in unwanted if name in seen[0].headers] == []


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_an_end_from_the_other_side_is_a_fault(comfyui, code: int) -> None:
    """Events are missing from here on, however politely ComfyUI said goodbye."""

    async def handler(connection: ServerConnection) -> None:
        await connection.send("last")
        await connection.close(code)

    socket = await EventSocket.connect(await comfyui(handler), "me")
    frames = aiter(socket)
    assert await anext(frames) == "last"
    with pytest.raises(UpstreamFault):
        await anext(frames)
    with pytest.raises(UpstreamFault):
        await socket.send("too late")
    await socket.close()


async def test_f07_a_lost_connection_is_a_fault(comfyui) -> None:
    """RST in the middle ends the iteration with a fault."""

    async def handler(connection: ServerConnection) -> None:
        await connection.recv()
        connection.transport.abort()

    socket = await EventSocket.connect(await comfyui(handler), "me")
    await socket.send("{}")
    with pytest.raises(UpstreamFault):
        await anext(aiter(socket))
    await socket.close()


async def test_our_own_close_ends_the_iteration(comfyui) -> None:
    """Closing is no fault."""

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()

    socket = await EventSocket.connect(await comfyui(handler), "me")
    reader = asyncio.create_task(anext(aiter(socket), "ended"))
    await asyncio.sleep(0)
    await socket.close()
    assert await reader == "ended"


async def test_what_is_sent_arrives(comfyui) -> None:
    """Text goes the other way too."""
    seen: asyncio.Queue[str | bytes] = asyncio.Queue()

    async def handler(connection: ServerConnection) -> None:
        seen.put_nowait(await connection.recv())

    socket = await EventSocket.connect(await comfyui(handler), "me")
    await socket.send("hello")
    assert await seen.get() == "hello"
    await socket.close()


async def test_a_refused_connection_is_nobody_there() -> None:
    """Nobody listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NobodyThere):
        await EventSocket.connect(f"http://127.0.0.1:{port}", "me")


async def test_a_server_that_does_not_shake_hands_is_no_server_in_time(fake) -> None:
    """Accepts, and says nothing."""

    async def script(connection) -> None:
        await connection.until_closed()

    silent = await fake(script)
    with pytest.raises(NoServer) as caught:
        await EventSocket.connect(silent.url, "me", open_timeout=0.2)
    assert not isinstance(caught.value, NobodyThere)


@pytest.mark.parametrize("status", [403, 302])
async def test_a_refusal_or_a_redirect_is_no_server(comfyui, fake, status: int) -> None:
    """ComfyUI's 403 is not an open socket, and a redirect leads nowhere else."""
    elsewhere = await fake(lambda connection: connection.until_closed())

    def refuse(connection: ServerConnection, request: Request) -> Response:
        answer = connection.respond(status, "no")
        answer.headers["Location"] = f"{elsewhere.url.replace('http', 'ws')}/ws"
        return answer

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()

    url = await comfyui(handler, process_request=refuse)
    with pytest.raises(NoServer):
        await EventSocket.connect(url, "me")
    assert elsewhere.connections == 0


async def test_the_kernel_watches_over_a_silent_connection(comfyui) -> None:
    """TCP keep-alive instead of pings, which a model load would not answer."""

    async def handler(connection: ServerConnection) -> None:
        await connection.wait_closed()

    opened = await EventSocket.connect(await comfyui(handler), "me")
    raw = opened._connection.transport.get_extra_info("socket")
    assert raw.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
    await opened.close()
