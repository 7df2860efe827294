"""Noticing that a client leaves."""

import asyncio

import pytest

from gateway.proxy import departure
from gateway.proxy.body import ClientLeftError, RequestBody
from gateway.proxy.departure import Departure


class Client:
    """What `receive` gives: messages as a test lets them come, and how often it was asked."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict] = asyncio.Queue()
        self.asked = 0

    async def receive(self) -> dict:
        self.asked += 1
        return await self.messages.get()

    def send(self, body: bytes, *, more: bool) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leave(self) -> None:
        self.messages.put_nowait({"type": "http.disconnect"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch) -> None:
    """Listening begins without delay."""
    monkeypatch.setattr(departure, "QUIET_SECONDS", 0)


async def test_a_client_that_leaves_ends_the_work() -> None:
    """The wait is cancelled and ClientLeftError comes out."""
    client = Client()
    client.leave()
    with pytest.raises(ClientLeftError):
        async with asyncio.timeout(5), Departure(client.receive, None):
            await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_body_of_a_request_that_has_none_to_forward_is_no_departure() -> None:
    """What a GET sends along is discarded; only leaving counts."""
    client = Client()
    client.send(b"evil", more=False)
    async with Departure(client.receive, None):
        await asyncio.sleep(0.02)
    assert client.asked == 2


async def test_a_body_that_is_still_being_read_is_left_alone() -> None:
    """Two readers would share its pieces: nobody else asks before it has ended, and then somebody does."""
    client = Client()
    body = RequestBody([(b"transfer-encoding", b"chunked")], client.receive, limit=100)
    client.send(b"a", more=True)
    with pytest.raises(ClientLeftError):
        async with asyncio.timeout(5), Departure(client.receive, body):
            pieces = body.pieces()
            assert await anext(pieces) == b"a"
            await asyncio.sleep(0.02)
            assert client.asked == 1
            client.send(b"", more=False)
            assert await anext(pieces, b"end") == b"end"
            client.leave()
            await asyncio.Event().wait()


async def test_a_client_that_leaves_its_body_is_not_asked_again() -> None:
    """Who reads the body has seen it leave; whoever waits for something else is told."""
    client = Client()
    body = RequestBody([(b"content-length", b"5")], client.receive, limit=100)
    client.leave()

    async def read() -> None:
        with pytest.raises(ClientLeftError):
            await body.whole()

    with pytest.raises(ClientLeftError):
        async with asyncio.timeout(5), Departure(client.receive, body):
            await asyncio.create_task(read())
            await asyncio.Event().wait()
    assert client.asked == 1


async def test_a_cancellation_from_outside_stays_one() -> None:
    """A gateway that shuts down is not taken for a client that leaves."""
    client = Client()

    async def work() -> None:
        async with Departure(client.receive, None):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_an_error_of_the_work_stays_its_own() -> None:
    """Only a cancelled wait becomes a departure, and nothing is left running."""
    client = Client()
    with pytest.raises(ValueError, match="mine"):
        async with Departure(client.receive, None):
            await asyncio.sleep(0.02)
            raise ValueError("mine")
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_quick_work_listens_to_nobody(monkeypatch) -> None:
    """No task is made for an answer that is there at once."""
    monkeypatch.setattr(departure, "QUIET_SECONDS", 0.05)
    client = Client()
    async with Departure(client.receive, None):
        pass
    await asyncio.sleep(0.1)
    assert client.asked == 0
