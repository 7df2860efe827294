"""One POST /prompt to ComfyUI, and what its answer means."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.comfy import clean_errors
from gateway.comfy.clean_errors import Reader
from gateway.comfy.files import Root
from gateway.comfy.prompt import Submission
from gateway.demo.server import Simulator
from gateway.errors import NoServer, UpstreamFault
from gateway.jobs import post as posting
from gateway.jobs.desk import Desk, Link
from gateway.jobs.hub import Hub
from gateway.jobs.live import Board, Live
from gateway.jobs.post import Posted, Refused, post
from gateway.policy.terms import Terms
from gateway.upstream.server import Server
from tests.jobs.house import CLIENT_ID, INVALID, Graph, House, failing, graph


@asynccontextmanager
async def answering(raw: bytes) -> AsyncIterator[str]:
    """A server that gives the same answer to everything."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        writer.write(raw)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def job() -> Live:
    return Live(prompt_id=str(uuid.uuid4()), user_id=1, client_id=None, seq=1, position=0.0, state="submitting")


async def send(desk: Desk, live: Live, nodes: Graph, **fields: object) -> Posted | Refused:
    return await post(desk, live, Submission(prompt=nodes, **fields), number=3.0, created_ms=5)


class NothingToTranslate:
    """Files of a job that names none."""

    async def rooted(self, user_id: int, prompt: Graph) -> Graph:
        return prompt

    async def refusal(self, live: Live, prompt: Graph, body: Any) -> Any:
        return clean_errors.told(body, Reader(Root("0" * 32)))


async def usual(_user_id: int) -> Terms:
    return Terms()


async def answer_of(raw: bytes) -> Posted | Refused:
    """What is made of an answer."""
    async with answering(raw) as url:
        server = Server(url)
        await server.start()
        board = Board()
        desk = Desk(
            ledger=None,
            board=board,
            hub=Hub(board.count),
            server=server,
            link=Link("x"),
            files=NothingToTranslate(),
            terms_of=usual,
        )
        try:
            return await send(desk, job(), graph(1))
        finally:
            await server.close()


async def test_a_job_goes_out_under_the_gateways_own_client_id(house: House, sim: Simulator) -> None:
    """Browsers' client ids never travel upstream, so they cannot be hijacked."""
    live = job()
    assert await send(house.works.desk, live, graph(1), client_id="browser") == Posted({})
    await house.until(lambda: live.prompt_id in sim.history, "it ran")
    number, prompt_id, _, extra_data, _ = sim.history[live.prompt_id]["prompt"]
    assert (number, prompt_id, extra_data["client_id"]) == (3.0, live.prompt_id, CLIENT_ID)
    assert "browser" not in str(sim.history)


async def test_errors_of_some_outputs_are_passed_on(house: House) -> None:
    """A prompt of which only some outputs are valid is accepted, with ComfyUI's node_errors for the others."""
    nodes = graph(1) | {"4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x"}}}
    outcome = await send(house.works.desk, job(), nodes)
    assert isinstance(outcome, Posted)
    assert list(outcome.node_errors) == ["4"]


async def test_a_refusal_is_comfyuis_own(house: House) -> None:
    """ComfyUI's 400 is its answer, not a fault."""
    outcome = await send(house.works.desk, job(), INVALID)
    assert isinstance(outcome, Refused)
    assert outcome.body["error"]["type"] == "prompt_outputs_failed_validation"
    assert outcome.body["node_errors"]["1"]["errors"][0]["type"] == "required_input_missing"


async def test_a_refusal_names_no_path_of_the_host() -> None:
    """Host paths are removed from ComfyUI's 400."""
    body = b'{"error": {"type": "x", "message": "in /opt/secret/ComfyUI/nodes.py"}, "node_errors": {}}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    outcome = await answer_of(head + body)
    assert isinstance(outcome, Refused)
    assert outcome.body["error"]["message"] == "in nodes.py"


@pytest.mark.parametrize(
    ("answer", "sent"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno", False),
        (b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno", False),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nno", True),
        (b"", True),
    ],
)
async def test_what_cannot_be_read_says_whether_comfyui_may_have_the_job(answer: bytes, *, sent: bool) -> None:
    """A refusal is certain; what an address in between says, and an answer that broke off, is not."""
    with pytest.raises(UpstreamFault) as caught:
        await answer_of(answer)
    assert caught.value.sent is sent


async def test_what_was_never_sent_is_tried_again(
    house: House, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses the connection for a moment costs nothing."""
    monkeypatch.setattr(posting, "PAUSE_SECONDS", 0.5)
    await sim.stop()
    live = job()
    sending = asyncio.create_task(send(house.works.desk, live, graph(1)))
    await asyncio.sleep(0.05)
    await sim.start()
    assert await sending == Posted({})
    assert len(house.happened("queued", live.prompt_id)) == 1


async def test_what_was_never_sent_is_not_tried_for_ever(house: House, sim: Simulator) -> None:
    """After a few tries it is NoServer, and certain that nothing was sent."""
    await sim.stop()
    with pytest.raises(NoServer) as caught:
        await send(house.works.desk, job(), graph(1))
    assert caught.value.sent is False


async def test_a_lost_answer_is_not_tried_again(house: House, sim: Simulator) -> None:
    """What was sent may have arrived, and is never posted a second time."""
    sim.faults.drop_post_answer = 1
    live = job()
    with pytest.raises(UpstreamFault) as caught:
        await send(house.works.desk, live, graph(1))
    assert caught.value.sent is True
    assert len(house.happened("queued", live.prompt_id)) == 1
    assert live.posted_at is not None
    assert live.answered_at is None


async def test_the_times_of_a_post_are_noted(house: House) -> None:
    """When a job was posted and answered is what the watch for deafness goes by."""
    live = job()
    live.absent_since = 1.0
    await send(house.works.desk, live, failing("x"))
    assert live.posted_at is not None
    assert live.answered_at is not None
    assert live.posted_at <= live.answered_at
    assert live.absent_since is None
