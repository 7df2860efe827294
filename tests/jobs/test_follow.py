"""Frames of the server move the ledger and go to their owners."""

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.demo.server import Simulator
from gateway.errors import StoreUnavailable
from gateway.jobs.follow import Rules
from tests.jobs.conftest import BOTH
from tests.jobs.house import CLIENT_ID, Ear, Graph, House, Person, failing, graph

FRAMES = ("execution_start", "execution_cached", "executing", "progress_state", "executed", "execution_success")
"""What every successful job says, at least."""


def node_of(text: bytes) -> str:
    """The node that a binary frame of kind 3 names."""
    (length,) = struct.unpack(">I", text[4:8])
    return text[8 : 8 + length].decode()


async def post_directly(sim: Simulator, nodes: Graph, client_id: str | None) -> str:
    """Submit to ComfyUI past the gateway, as somebody on its host may."""
    body = {"prompt": nodes} if client_id is None else {"prompt": nodes, "client_id": client_id}
    async with aiohttp.ClientSession() as session, session.post(f"{sim.url}/prompt", json=body) as answer:
        return str((await answer.json())["prompt_id"])


async def broadcast(sim: Simulator, kind: str, data: dict[str, Any]) -> None:
    """Let ComfyUI send a frame to everybody, as a node pack may."""
    assert sim._machine is not None
    sim._machine.events.send(kind, data)


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_all_frames_of_a_job_come_to_its_owner(house: House, alice: Person, bob: Person) -> None:
    """Frames with a prompt_id go to the owner of the job, to the sockets with its client id, and to nobody else."""
    mine, elsewhere, foreign = house.listen(alice, "a"), house.listen(alice, "b"), house.listen(bob, "a")
    prompt_id = await house.submit(alice, graph(1, steps=3, previews=True, text=True), client_id="a")
    await house.until(lambda: mine.is_over(prompt_id), "the client is told the end")
    assert set(FRAMES) <= set(mine.types(prompt_id))
    assert mine.types(prompt_id)[0] == "execution_start"
    assert mine.types(prompt_id)[-2:] == ["execution_success", "executing"]
    assert sum(raw[:4] == b"\0\0\0\1" for raw in mine.binaries) == 3
    assert [node_of(raw) for raw in mine.binaries if raw[:4] == b"\0\0\0\3"] == ["2"] * 3
    assert elsewhere.binaries == foreign.heard == []
    assert {message["type"] for message in elsewhere.messages} == {"status"}


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_two_users_with_the_same_client_id_hear_only_their_own(house: House, alice: Person, bob: Person) -> None:
    """Two users with the same client id, jobs interleaved, previews on: neither ever gets a frame of the other."""
    ears = {person: house.listen(person, "same", metadata=True) for person in (alice, bob)}
    silent = {person: house.listen(person, "other") for person in (alice, bob)}
    ids: dict[Person, list[str]] = {alice: [], bob: []}
    for number in range(12):
        person, sign = ((alice, "a"), (bob, "b"))[number % 2]
        nodes = graph(number, seconds=0.03, steps=3, previews=True, text=True, sign=sign)
        named = {"client_id": "same"} if number % 3 else {}
        ids[person].append(await house.submit(person, nodes, **named))
    await house.idle()
    for person, sign in ((alice, "a"), (bob, "b")):
        for ear in (ears[person], silent[person]):
            assert ear.ids() <= set(ids[person])
            assert all(node_of(raw).endswith(sign) for raw in ear.binaries if raw[:4] == b"\0\0\0\3")
        assert ears[person].ids() == set(ids[person])
        assert all(ears[person].is_over(one) for one in ids[person])
        assert sum(raw[:4] == b"\0\0\0\4" for raw in ears[person].binaries) == 3 * len(ids[person])
        assert sum(raw[:4] == b"\0\0\0\3" for raw in ears[person].binaries) == 3 * len(ids[person])


async def test_a_job_without_client_id_is_told_to_all_own_sockets(house: House, alice: Person, bob: Person) -> None:
    """A job that named no client is told to all of its owner's sockets; ComfyUI would tell everybody."""
    ears = [house.listen(alice, "a"), house.listen(alice, "b")]
    foreign = house.listen(bob, "a")
    prompt_id = await house.submit(alice, graph(1, previews=True))
    await house.ended(prompt_id)
    assert all(set(FRAMES) <= set(ear.types(prompt_id)) for ear in ears)
    assert all(len(ear.binaries) == 1 for ear in ears)
    assert foreign.heard == []


async def test_frames_of_the_next_job_do_not_go_to_the_owner_of_the_last(
    house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames without an id belong to the job that runs now, also while the end of the last one is written down."""
    real = type(house.store.ledger).finish
    may_end = asyncio.Event()

    async def slow(*arguments: Any, **options: Any) -> bool:
        await may_end.wait()
        return await real(*arguments, **options)

    monkeypatch.setattr(type(house.store.ledger), "finish", slow)
    ears = {person: house.listen(person, "same") for person in (alice, bob)}
    await house.submit(alice, graph(1, text=True, sign="a"), client_id="same")
    second = await house.submit(bob, graph(2, steps=4, text=True, sign="b"), client_id="same")
    await house.until(lambda: len(house.happened("finished", second)) == 1, "bob's job has ended")
    await house.until(lambda: len(ears[bob].binaries) == 4, "bob is told")
    may_end.set()
    await house.idle()
    assert [node_of(raw) for raw in ears[alice].binaries] == ["2a"]
    assert [node_of(raw) for raw in ears[bob].binaries] == ["2b"] * 4


async def test_status_counts_own_jobs_only(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """`status` is made here, per user, counting that user's jobs, whenever they change."""
    sim.faults.stop_executing = True
    mine, other = house.listen(alice), house.listen(bob)
    for number in range(3):
        await house.submit(alice, graph(number))
    await house.submit(bob, graph("bob"))
    counts = [[data["status"]["exec_info"]["queue_remaining"] for data in ear.of("status")] for ear in (mine, other)]
    assert (counts[0][-1], counts[1][-1]) == (3, 1)
    assert max(counts[1]) == 1
    sim.faults.stop_executing = False
    await house.idle()
    assert [ear.of("status")[-1]["status"]["exec_info"]["queue_remaining"] for ear in (mine, other)] == [0, 0]
    assert all("sid" not in data for ear in (mine, other) for data in ear.of("status"))


async def test_the_queue_is_shorter_before_the_last_word(house: House, alice: Person) -> None:
    """At the end: execution_success, then `status`, then `executing` with node null, as ComfyUI says it."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1), client_id="browser")
    await house.until(lambda: ear.is_over(prompt_id), "it is over")
    last = [message["type"] for message in ear.messages[-3:]]
    assert last == ["execution_success", "status", "executing"]
    assert ear.messages[-2]["data"] == {"status": {"exec_info": {"queue_remaining": 0}}}


@pytest.mark.parametrize("client_id", [None, "somebody"])
@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_frames_of_foreign_jobs_are_dropped(
    house: House, sim: Simulator, alice: Person, client_id: str | None
) -> None:
    """Jobs that someone started on ComfyUI directly are foreign: their frames are dropped, also while ours wait."""
    ear = house.listen(alice)
    foreign = await post_directly(sim, graph(1, seconds=0.2, steps=4, previews=True, text=True, sign="f"), client_id)
    await house.until(lambda: foreign in sim.queue_running, "it runs")
    own = await house.submit(alice, graph(2, text=True, sign="a"))
    await house.ended(own)
    assert foreign in sim.history
    assert ear.ids() == {own}
    assert [node_of(raw) for raw in ear.binaries] == ["2a"]


async def test_a_picture_sent_by_socket_comes_to_the_owner(house: House, alice: Person, bob: Person) -> None:
    """A result of SaveImageWebsocket, a PNG without any id, goes to the owner of the running job."""
    mine, other = house.listen(alice), house.listen(bob)
    prompt_id = await house.submit(alice, graph(1, save="SaveImageWebsocket"), client_id="browser")
    await house.ended(prompt_id)
    assert [raw[:8] for raw in mine.binaries] == [struct.pack(">II", 1, 2)]
    assert other.heard == []


@pytest.fixture
async def allowing(sim: Simulator, database: tuple[Path, Person, Person], tmp_path: Path) -> Any:
    """A house whose settings let two types of frames pass."""
    rules = Rules(broadcast=frozenset({"crystools.monitor", "status"}), owner_of_running=frozenset({"node-feedback"}))
    made = House(sim, database[0], tmp_path, rules=rules)
    await made.start()
    yield made
    await made.kill()


async def test_other_frames_have_one_of_three_rules(
    allowing: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """Frames of other types go to everybody or to the owner of the running job if the settings say so, else nowhere."""
    mine, other = allowing.listen(alice), allowing.listen(bob)
    prompt_id = await allowing.submit(alice, graph(1, seconds=0.3))
    await allowing.in_state(prompt_id, "running")
    for kind in ("crystools.monitor", "node-feedback", "lab.unknown", "logs"):
        await broadcast(sim, kind, {"value": kind})
    await allowing.ended(prompt_id)
    await broadcast(sim, "node-feedback", {"value": "nobody runs"})
    await broadcast(sim, "crystools.monitor", {"value": "last"})
    await allowing.until(lambda: len(other.of("crystools.monitor")) == 2, "the last one has come")
    assert [data["value"] for data in mine.of("crystools.monitor")] == ["crystools.monitor", "last"]
    assert [data["value"] for data in mine.of("node-feedback")] == ["node-feedback"]
    assert {message["type"] for message in other.messages} == {"crystools.monitor"}
    assert not mine.of("lab.unknown")
    assert not mine.of("logs")


async def test_comfyuis_own_status_reaches_nobody(allowing: House, sim: Simulator, bob: Person) -> None:
    """ComfyUI's `status` counts everybody's jobs: it is never passed on, whatever the settings say."""
    ear = allowing.listen(bob)
    await post_directly(sim, graph(1), "somebody")
    await allowing.until(lambda: len(sim.history) == 1, "it ran")
    await broadcast(sim, "crystools.monitor", {})
    await allowing.until(lambda: bool(ear.of("crystools.monitor")), "frames have come")
    assert not ear.of("status")


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_stray_is_stopped(house: House, sim: Simulator, alice: Person) -> None:
    """A job that starts under our client id though no row wants it is the late arrival of a withdrawn one: it is
    stopped, and nobody hears of it."""
    ear = house.listen(alice)
    stray = await post_directly(sim, graph(1, seconds=20, steps=400), CLIENT_ID)
    own = await house.submit(alice, graph(2))
    await house.until(lambda: len(house.happened("interrupted", stray)) == 1, "it is stopped")
    assert (await house.ended(own)).state == "succeeded"
    assert ear.ids() == {own}


async def test_events_move_the_ledger(house: House, alice: Person) -> None:
    """`running` at execution_start, outputs recorded at `executed`, the end at the end."""
    nodes = graph(1, seconds=0.5) | {"4": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}}}
    prompt_id = await house.submit(alice, nodes)
    await house.in_state(prompt_id, "running")
    row = await house.row(prompt_id)
    assert row is not None
    assert (row.state, row.server, row.attempts) == ("running", house.sim.url, 1)
    assert row.started_at is not None

    async def recorded() -> bool:
        found = await house.row(prompt_id)
        return found is not None and list(found.outputs) == ["4"]

    await house.until(recorded, "the preview is recorded while the job runs")
    row = await house.ended(prompt_id)
    assert (row.state, sorted(row.outputs)) == ("succeeded", ["3", "4"])
    assert row.ended_at is not None
    assert row.started_at is not None
    assert row.started_at <= row.ended_at


async def test_the_server_tells_its_flags(house: House) -> None:
    """The server's feature flags are kept for the clients' handshakes."""
    await house.until(lambda: bool(house.works.follower.server_flags), "they have come")
    assert house.works.follower.server_flags["supports_preview_metadata"] is True


async def test_errors_name_no_path_of_the_host(house: House, alice: Person) -> None:
    """execution_error frames come without host paths and tracebacks."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, failing("cannot read /opt/secret/models/x.bin"))
    await house.ended(prompt_id)
    (told,) = ear.of("execution_error")
    assert told["exception_message"].strip() == "cannot read x.bin"
    assert told["traceback"] == []
    assert "/opt" not in json.dumps(told)


async def test_the_owner_is_told_also_while_the_database_is_away(
    house: House, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database that fails costs no frame: what could not be noted is delivered all the same."""
    real = type(house.store.ledger).record_output

    async def away(*_: Any) -> None:
        monkeypatch.setattr(type(house.store.ledger), "record_output", real)
        raise StoreUnavailable("The database cannot answer now.", sent=False)

    monkeypatch.setattr(type(house.store.ledger), "record_output", away)
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1))
    row = await house.ended(prompt_id)
    assert len(ear.of("executed")) == 1
    assert list(row.outputs) == ["3"]


async def test_strange_frames_stop_nothing(house: House, sim: Simulator, alice: Person) -> None:
    """One frame that makes no sense must not cost the others their events."""
    for data in ({"node": None, "prompt_id": 5}, {"prompt_id": ["x"]}, {"prompt_id": "nobody's", "node": None}):
        for kind in ("executing", "executed", "execution_start", "progress"):
            await broadcast(sim, kind, data)
    assert (await house.ended(await house.submit(alice, graph(1)))).state == "succeeded"


async def test_frames_that_come_before_the_look_go_to_nobody(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """After a lost connection nobody knows who runs: frames without an id are dropped until the server was asked."""
    ears = {person: house.listen(person) for person in (alice, bob)}
    mine = await house.submit(alice, graph(1, seconds=0.4, steps=2, text=True, sign="a"))
    other = await house.submit(bob, graph(2, seconds=1.2, steps=24, text=True, sign="b"))
    await house.in_state(mine, "running")
    asked = asyncio.Event()
    real = house.works.follower._on_up

    async def late() -> None:
        await asked.wait()
        await real()

    house.works.follower._on_up = late
    house.works.follower._pause = 0.6
    await house.works.follower.reconnect()
    await house.until(lambda: len(house.happened("socket_opened")) == 2, "the socket is open again")
    assert house.runs(other) == 1, "bob's job started meanwhile"
    await asyncio.sleep(0.2)
    asked.set()
    await house.idle()
    assert all(node_of(raw) == "2a" for raw in ears[alice].binaries)
    assert all(node_of(raw) == "2b" for raw in ears[bob].binaries)
    assert ears[bob].binaries


def test_an_ear_hears_its_ids() -> None:
    """The ear that these tests listen with finds an id in every kind of frame."""
    ear = Ear()
    ear.put('{"type": "executing", "data": {"node": null, "prompt_id": "p"}}')
    metadata = b'{"prompt_id": "q"}'
    ear.put(struct.pack(">II", 4, len(metadata)) + metadata)
    assert (ear.ids(), ear.is_over("p"), ear.is_over("q")) == ({"p", "q"}, True, False)
