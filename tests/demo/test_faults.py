"""A simulated server misbehaves as told, and only then."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientConnectorError, ClientError, ClientOSError, ClientPayloadError, ClientSession
from yarl import URL

from gateway.demo.server import Simulator
from tests.demo.talking import Talk, saving, slow, until


@pytest.fixture(params=["0.28.1"])
def version(request: pytest.FixtureRequest) -> str:
    """Faults do not depend on the version."""
    return str(request.param)


async def test_crash(simulator: Simulator, talk: Talk) -> None:
    """A crash resets every connection, loses queue, history and temp/, and keeps files, log and port."""
    saved, ear, port = await talk.run(saving()), await talk.listen("a"), simulator.port
    await talk.submit(slow())
    await simulator.crash()
    await ear.hear_close()
    with pytest.raises(ClientConnectorError):
        await talk.get("/queue")
    assert (simulator.queue_running, simulator.queue_pending, simulator.history) == ([], [], {})
    await simulator.start()
    assert simulator.port == port
    assert await talk.get_json("/queue") == {"queue_running": [], "queue_pending": []}
    assert await talk.get_json("/history") == {}
    name = saved["outputs"]["3"]["images"][0]["filename"]
    assert (await talk.get(f"/view?filename={name}"))[0] == 200
    assert len([one for one in simulator.log if one.kind == "queued"]) == 2
    assert (await talk.run(saving(2)))["status"]["completed"] is True


async def test_crash_resets_answers(simulator: Simulator, talk: Talk) -> None:
    """A request that is being answered when the server crashes fails with a reset."""
    simulator.faults.hold_answers = float("inf")
    asked = asyncio.create_task(talk.get("/queue"))
    await until(lambda: [one for one in simulator.log if one.kind == "request"], "the request")
    await simulator.crash()
    with pytest.raises(ClientError):
        await asked


async def test_temp_is_emptied_at_start(simulator: Simulator) -> None:
    """What lies in temp/ is gone after a restart."""
    await simulator.stop()
    (simulator.directory / "temp").mkdir()
    (simulator.directory / "temp" / "x.png").touch()
    await simulator.start()
    assert list((simulator.directory / "temp").iterdir()) == []


async def test_held_answers(simulator: Simulator, talk: Talk) -> None:
    """While answers are held nothing comes, neither answers nor events; afterwards everything does."""
    ear = await talk.listen("a")
    simulator.faults.hold_answers = 60.0
    asked = [asyncio.create_task(talk.submit(saving(), client_id="a")), asyncio.create_task(talk.get("/queue"))]
    done, _ = await asyncio.wait(asked, timeout=0.3)
    await ear.hear_until_quiet(0.2)
    assert (done, ear.frames, simulator.queue_running) == (set(), [], [])
    simulator.faults.hold_answers = 0
    prompt_id, (status, _) = await asyncio.gather(*asked)
    await ear.hear_end(prompt_id)
    assert status == 200


async def test_hold_ends_by_itself(simulator: Simulator, talk: Talk) -> None:
    """A hold lasts as long as it was set for."""
    simulator.faults.hold_answers = 0.2
    assert (await talk.get("/queue"))[0] == 200
    assert simulator.faults.hold_answers == 0


async def test_request_outlives_its_client(simulator: Simulator, talk: Talk) -> None:
    """A prompt whose client gave up during a hold is carried out after it."""
    simulator.faults.hold_answers = 60.0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(talk.submit(saving()), 0.2)
    simulator.faults.hold_answers = 0
    await until(lambda: simulator.history, "the job's end")


async def test_stopped_execution(simulator: Simulator, talk: Talk) -> None:
    """With execution stopped HTTP lives and nothing is executed, not even the running job; it goes on when allowed."""
    running, waiting = await talk.submit(slow(0.2, 20)), await talk.submit(saving())
    await until(lambda: simulator.queue_running == [running], "the start of the job")
    simulator.faults.stop_executing = True
    await asyncio.sleep(0.4)
    assert await talk.get_json("/prompt") == {"exec_info": {"queue_remaining": 2}}
    assert simulator.history == {}
    simulator.faults.stop_executing = False
    await until(lambda: list(simulator.history) == [running, waiting], "both jobs' ends")


@pytest.mark.parametrize("path", ["/object_info", "/view?filename=big.bin&type=input"])
async def test_body_cut_half_way(simulator: Simulator, talk: Talk, path: str) -> None:
    """The next body over 1 kB is cut half way by a reset, once; smaller ones pass."""
    (simulator.directory / "input" / "big.bin").write_bytes(bytes(4096))
    simulator.faults.reset_mid_body = True
    assert (await talk.get("/queue"))[0] == 200
    async with talk.client.get(f"{simulator.url}{path}") as answer:
        received = bytearray()
        with pytest.raises(ClientPayloadError):
            async for part in answer.content.iter_any():
                received += part
        assert len(received) == answer.content_length // 2
    status, body = await talk.get(path)
    assert (status, len(body)) == (200, answer.content_length)


async def test_slow_body(simulator: Simulator, talk: Talk) -> None:
    """A slowed body comes in many parts, complete, and a Range of it too."""
    data = bytes(range(250)) * 4
    (simulator.directory / "input" / "big.bin").write_bytes(data)
    simulator.faults.slow_bytes_per_second = 4000
    async with talk.client.get(f"{simulator.url}/view?filename=big.bin&type=input") as answer:
        parts = [part async for part in answer.content.iter_any()]
    assert (b"".join(parts), len(parts) > 2) == (data, True)
    headers = {"Range": "bytes=10-19"}
    async with talk.client.get(f"{simulator.url}/view?filename=big.bin&type=input", headers=headers) as answer:
        assert (answer.status, await answer.read()) == (206, data[10:20])
        assert answer.headers["Content-Range"] == "bytes 10-19/1000"


async def test_dropped_answer(simulator: Simulator, talk: Talk) -> None:
    """The answers of so many POST /prompt are lost, the prompts are not."""
    simulator.faults.drop_post_answer = 1
    with pytest.raises(ClientOSError):
        await talk.submit(saving())
    await talk.submit(saving(2))
    await until(lambda: len(simulator.history) == 2, "both jobs' ends")


async def test_refused(simulator: Simulator, talk: Talk) -> None:
    """Every request gets the chosen status, and nothing is carried out."""
    simulator.faults.refuse_status = 503
    assert (await talk.post("/prompt", {"prompt": saving()}))[0] == 503
    assert (await talk.get("/queue"))[0] == 503
    simulator.faults.refuse_status = None
    assert await talk.get_json("/prompt") == {"exec_info": {"queue_remaining": 0}}
    assert [one for one in simulator.log if one.kind == "queued"] == []


async def test_deaf(simulator: Simulator, talk: Talk) -> None:
    """A deaf server executes and keeps its sockets open, but sends no event."""
    ear = await talk.listen("a")
    simulator.faults.deaf = True
    await talk.run(saving(), client_id="a")
    await ear.hear_until_quiet(0.2)
    assert (ear.frames, ear.socket.closed) == ([], False)
    simulator.faults.deaf = False
    await ear.hear_end(await talk.submit(saving(2), client_id="a"))


def test_unknown_fault() -> None:
    """A fault that does not exist is an error, not a silence."""
    with pytest.raises(ValueError, match="hold_answer"):
        Simulator().faults.set({"hold_answer": 1})


async def test_two_servers(talk: Talk, client: ClientSession, tmp_path: Path) -> None:
    """Two servers in one process share nothing."""
    other = Simulator(version="0.3.64", directory=tmp_path / "other")
    await other.start()
    other.faults.refuse_status = 500
    await talk.run(saving())
    assert (await talk.get("/queue"))[0] == 200
    assert (await Talk(other, client).get("/queue"))[0] == 500
    assert (other.history, other.port != talk.server.port) == ({}, True)
    await other.stop()


async def test_request_log(simulator: Simulator, talk: Talk) -> None:
    """The log has each request's method, raw path and raw headers, duplicates included."""
    headers = [("X-Twice", "1"), ("X-Twice", "2")]
    async with talk.client.get(URL(f"{simulator.url}/queue?a=%2F", encoded=True), headers=headers):
        (request,) = [one.detail for one in simulator.log if one.kind == "request"]
    assert request[:2] == ("GET", "/queue?a=%2F")
    assert [pair for pair in request[2] if pair[0] == "X-Twice"] == headers


async def test_padding(client: ClientSession) -> None:
    """/object_info can be grown to a chosen size."""
    large = Simulator(padding_bytes=2_000_000)
    await large.start()
    status, body = await Talk(large, client).get("/object_info")
    assert (status, 2_000_000 < len(body) < 2_010_000) == (200, True)
    await large.stop()
