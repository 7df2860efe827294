"""The ledger and the server agree again, whatever died and whenever."""

import asyncio
import uuid
from typing import Any

import aiohttp
import orjson
import pytest

from gateway.demo.server import Simulator
from gateway.errors import UpstreamFault
from gateway.jobs import comparison, dispatch, look, recover, settle, submission
from gateway.jobs.submission import Accepted
from gateway.store.ledger import Ledger
from tests.jobs.conftest import BOTH
from tests.jobs.house import CLIENT_ID, House, Person, graph


async def restart(house: House) -> None:
    """Kill the gateway and start it again over the same database."""
    await house.kill()
    await house.start()


async def delete_directly(house: House, prompt_id: str) -> None:
    """Take a job out of ComfyUI's queue past the gateway, as somebody on its host may."""
    await house.server.send_json("POST", "/queue", orjson.dumps({"delete": [prompt_id]}), timeout=5)


INSTRUCTIONS = [
    (Ledger, "reserve", "before", 1),
    (Ledger, "reserve", "after", 1),
    (Ledger, "reserve", "after", 3),
    (submission, "post", "before", 1),
    (submission, "post", "before", 3),
    (submission, "post", "after", 1),
    (submission, "post", "after", 3),
    (submission, "leave", "after", 1),
    (Ledger, "accept", "before", 1),
    (Ledger, "accept", "before", 4),
    (Ledger, "accept", "after", 1),
    (Ledger, "accept", "after", 4),
    (Ledger, "hand", "before", 1),
    (Ledger, "hand", "after", 1),
    (Ledger, "hand", "after", 3),
    (dispatch, "post", "before", 1),
    (dispatch, "post", "after", 1),
    (dispatch, "post", "after", 3),
    (Ledger, "move", "before", 1),
    (Ledger, "move", "after", 1),
    (Ledger, "start", "before", 1),
    (Ledger, "start", "before", 3),
    (Ledger, "start", "after", 1),
    (Ledger, "record_output", "before", 1),
    (Ledger, "record_output", "after", 3),
    (Ledger, "finish", "before", 1),
    (Ledger, "finish", "before", 3),
    (Ledger, "finish", "after", 1),
    (Ledger, "finish", "after", 3),
    (Ledger, "give_back", "before", 1),
    (Ledger, "give_back", "after", 1),
]
"""Where the gateway dies: before or after this call of this function."""


@pytest.mark.parametrize(("owner", "name", "when", "call"), INSTRUCTIONS)
async def test_a_gateway_killed_at_any_instruction(
    house: House,
    alice: Person,
    bob: Person,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    when: str,
    call: int,
) -> None:
    """After a crash of the gateway at any instruction what was accepted ends, once, and no row is left (Q09, Q10,
    F14)."""
    reached = asyncio.Event()
    real = getattr(owner, name)
    monkeypatch.setattr(owner, name, dying(real, call, when, reached))
    accepted: dict[str, Person] = {}

    async def script(person: Person) -> None:
        for number in range(3):
            outcome = await house.offer(person, graph(f"{person.name}{number}", steps=5), client_id="browser")
            assert isinstance(outcome, Accepted)
            accepted[outcome.prompt_id] = person

    done = asyncio.gather(*(script(person) for person in (alice, bob)))
    interrupting = asyncio.create_task(interrupt_unasked(house) if name == "give_back" else reached.wait())
    await house.until(lambda: reached.is_set() or (done.done() and not list(house.works.desk.board)), "it is reached")
    for task in (done, interrupting):
        task.cancel()
    await asyncio.gather(done, interrupting, return_exceptions=True)
    await house.kill()
    ((coming,),) = house.read("select count(*) from jobs where state = 'submitting'")
    monkeypatch.setattr(owner, name, real)
    await house.start()
    await house.idle()
    assert await house.store.ledger.unfinished() == []
    for prompt_id, person in accepted.items():
        row = await house.row(prompt_id)
        assert row is not None
        assert (row.user_id, row.state) == (person.id, "succeeded")
        assert 1 <= house.runs(prompt_id) <= row.attempts
        assert house.runs(prompt_id) == 1 or name == "give_back"
    # A job that was at its parking number when the gateway died could start there, one of each of the two who submit.
    assert house.most_held() <= max(3, 2 + coming)
    await house.until(lambda: house.sim.queue_running == house.sim.queue_pending == [], "nothing is left at ComfyUI")
    booked = house.read("select user_id, sum(gpu_ms) from jobs group by user_id")
    for user_id, spent in booked:
        assert (await house.store.ledger.virtual_times())[user_id] >= spent
    assert house.booked() == house.ended_rows(), "each job is booked once"


def dying(real: Any, call: int, when: str, reached: asyncio.Event) -> Any:
    """A function whose so-many-th call never comes back."""
    calls = 0

    async def function(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        fatal = calls == call
        outcome = None if fatal and when == "before" else await real(*arguments, **options)
        if fatal:
            reached.set()
            await asyncio.Event().wait()
        return outcome

    return function


async def interrupt_unasked(house: House) -> None:
    """Somebody on ComfyUI's host interrupts what runs, once."""
    await house.until(lambda: bool(house.sim.queue_running), "a job runs")
    await house.server.send_json("POST", "/interrupt", b"{}", timeout=5)


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_server_that_dies_takes_the_running_job_along(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """ComfyUI dies: the running job ends failed with server_lost and an event, the others run when it is back (Q11)."""
    ear = house.listen(alice)
    ids = [await house.submit(alice, graph(number, seconds=0.6, steps=12), client_id="browser") for number in range(4)]
    await house.until(lambda: any(data["value"] >= 4 for data in ear.of("progress")), "it makes progress")
    assert [house.state(one) for one in ids] == ["running", "handed", "waiting", "waiting"]
    await sim.crash()
    lost = await house.ended(ids[0])
    assert lost.error is not None
    assert (lost.state, lost.error["exception_type"], lost.attempts) == ("failed", "server_lost", 1)
    assert lost.status is not None
    assert [name for name, _ in lost.status["messages"]] == ["execution_start", "execution_error"]
    assert ear.types(ids[0])[-2:] == ["execution_error", "executing"]
    assert ear.is_over(ids[0])
    assert [house.live(one) is None for one in ids[1:]] == [False] * 3
    await sim.start()
    rows = [await house.ended(one) for one in ids[1:]]
    assert [row.state for row in rows] == ["succeeded"] * 3
    assert [house.runs(one) for one in ids] == [1] * 4


async def test_a_lost_job_is_booked_to_its_last_event(house: House, sim: Simulator, alice: Person) -> None:
    """What a job used before its server died is booked to its last event, not to the moment it was given up."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1, seconds=0.4, steps=8), client_id="browser")
    await house.until(lambda: any(data["value"] >= 4 for data in ear.of("progress")), "it makes progress")
    sim.faults.stop_executing = True
    await asyncio.sleep(0.5)
    await sim.crash()
    row = await house.ended(prompt_id)
    assert row.started_at is not None
    assert row.ended_at is not None
    assert 0 < row.gpu_ms <= row.ended_at - row.started_at - 450
    assert (await house.store.ledger.virtual_times())[alice.id] == row.gpu_ms


async def test_a_server_that_restarts_quickly_is_found_out(house: House, sim: Simulator, alice: Person) -> None:
    """A server that is back before it is missed has forgotten its jobs all the same."""
    ids = [await house.submit(alice, graph(number, seconds=0.5)) for number in range(3)]
    await house.in_state(ids[0], "running")
    await sim.crash()
    await sim.start()
    rows = [await house.ended(one) for one in ids]
    assert [row.state for row in rows] == ["failed", "succeeded", "succeeded"]
    assert [house.runs(one) for one in ids] == [1, 1, 1]


async def test_both_die(house: House, sim: Simulator, alice: Person) -> None:
    """The gateway and its server die together: what ran is lost, what waited runs."""
    ear = house.listen(alice)
    ids = [await house.submit(alice, graph(number, seconds=0.5), client_id="browser") for number in range(3)]
    await house.in_state(ids[0], "running")
    await house.kill()
    await sim.crash()
    await house.start(wait=False)
    assert (await house.ended(ids[0])).state == "failed"
    assert ear.of("execution_error")[0]["exception_type"] == "server_lost"
    await sim.start()
    assert [(await house.ended(one)).state for one in ids[1:]] == ["succeeded"] * 2
    assert [house.runs(one) for one in ids] == [1, 1, 1]


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_silent_server_is_not_dead(house: House, sim: Simulator, alice: Person, bob: Person) -> None:
    """ComfyUI silent while it loads a model: nothing is declared dead or lost or run twice, and the link is kept
    (F09)."""
    ids = [await house.submit(alice, graph(number, seconds=0.3)) for number in range(3)]
    await house.in_state(ids[0], "running")
    sim.faults.hold_answers = 3 * recover.DEAF_SECONDS
    submitting = asyncio.create_task(house.submit(bob, graph("late")))
    await asyncio.sleep(2.5 * recover.DEAF_SECONDS)
    assert sim.faults.hold_answers > 0
    assert [house.state(one) for one in ids] == ["running", "handed", "waiting"]
    assert house.works.connected
    ids.append(await submitting)
    rows = [await house.ended(one) for one in ids]
    assert [(row.state, row.attempts) for row in rows] == [("succeeded", 1)] * 4
    assert [house.runs(one) for one in ids] == [1] * 4
    assert len(house.happened("socket_opened")) == 1


async def test_silence_is_not_taken_for_deafness(house: House, sim: Simulator, alice: Person) -> None:
    """A server that has answered a POST and falls silent before its `status` came is not deaf: the link is kept."""
    assert sim._machine is not None
    events, released = sim._machine.events, asyncio.Event()
    real = events._deliver

    async def later(message: str | bytes, to: Any) -> None:
        await released.wait()
        await real(message, to)

    events._deliver = later
    prompt_id = await house.submit(alice, graph(1, seconds=0.3))
    sim.faults.hold_answers = 3 * recover.DEAF_SECONDS
    await house.until(lambda: sim.faults.hold_answers <= 0, "it speaks again")
    released.set()
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert len(house.happened("socket_opened")) == 1


async def test_a_hand_over_under_way_is_not_judged(
    house: House, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose POST takes longer than an absence that would be believed is not queued again."""
    real = dispatch.post

    async def slow(*arguments: Any, **options: Any) -> Any:
        looking = asyncio.create_task(looked())
        await asyncio.sleep(3 * comparison.ABSENT_SECONDS)
        looking.cancel()
        return await real(*arguments, **options)

    async def looked() -> None:
        while True:
            await house.works._recovery.look()
            await asyncio.sleep(comparison.ABSENT_SECONDS / 3)

    held = [await house.submit(bob, graph(f"held{number}", seconds=0.2)) for number in range(2)]
    monkeypatch.setattr(dispatch, "post", slow)
    prompt_id = await house.submit(alice, graph(1))
    rows = [await house.ended(one) for one in (*held, prompt_id)]
    assert [(row.state, row.attempts, house.runs(row.prompt_id)) for row in rows] == [("succeeded", 1, 1)] * 3


async def test_a_server_that_is_silent_at_the_end_of_a_job(house: House, sim: Simulator, alice: Person) -> None:
    """ComfyUI falls silent between a job's last event and its history: the job is found when it speaks again."""
    sim.faults.history_lag = 0.1
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    await house.until(lambda: bool(house.happened("finished", ids[0])), "the first has run")
    await house.until(lambda: ids[0] in sim.history, "it is written down")
    sim.faults.hold_answers = 2 * settle.HISTORY_SECONDS
    rows = [await house.ended(one) for one in ids]
    assert [(row.state, row.attempts, house.runs(row.prompt_id)) for row in rows] == [("succeeded", 1, 1)] * 3


async def test_a_deaf_socket_is_found_and_healed(house: House, sim: Simulator, alice: Person) -> None:
    """No `status` after one's own accepted POST means reconnect; while events are missing, completion is polled."""
    ear = house.listen(alice)
    sim.faults.deaf = True
    prompt_id = await house.submit(alice, graph(1), client_id="browser")
    assert (await house.ended(prompt_id)).state == "succeeded"
    assert ear.is_over(prompt_id)
    await house.until(lambda: len(house.happened("socket_opened")) > 1, "it connects anew")
    sim.faults.deaf = False
    await house.works.follower.reconnect()
    await house.connected()
    after = await house.submit(alice, graph(2, previews=True), client_id="browser")
    assert (await house.ended(after)).state == "succeeded"
    assert "execution_success" in ear.types(after)
    assert len(ear.binaries) == 1


async def test_a_job_that_says_nothing_gets_one_new_socket(house: House, alice: Person) -> None:
    """A running job without events, while ComfyUI answers, is a slow node or deafness: the socket is opened anew, once,
    and nothing else happens to the job."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1, seconds=4 * recover.DEAF_SECONDS), client_id="browser")
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("succeeded", 1, 1)
    assert len(house.happened("socket_opened")) == 2
    assert ear.types(prompt_id)[-2:] == ["execution_success", "executing"]


@pytest.mark.parametrize("version", BOTH, indirect=True)
async def test_a_socket_that_another_took_over_is_found(house: House, sim: Simulator, alice: Person) -> None:
    """A second socket under our client id, once closed, leaves the first one open and deaf (trap 4): it is opened
    anew."""
    async with aiohttp.ClientSession() as session:
        other = await session.ws_connect(f"{sim.url}/ws?clientId={CLIENT_ID}")
        await other.receive()
        await other.close()
    await house.until(lambda: len(house.happened("socket_closed")) == 1, "ComfyUI has forgotten our socket")
    ear = house.listen(alice)
    ids = [await house.submit(alice, graph(number, seconds=0.2, steps=4), client_id="browser") for number in range(8)]
    rows = [await house.ended(one) for one in ids]
    assert [(row.state, house.runs(row.prompt_id)) for row in rows] == [("succeeded", 1)] * 8
    assert "execution_success" in ear.types(ids[-1])
    assert all(ear.is_over(one) for one in ids)


async def test_what_happened_while_nobody_listened_is_learned(house: House, sim: Simulator, alice: Person) -> None:
    """The link is lost at the finish: the job is settled when it is there again (Q12, F07)."""
    ear = house.listen(alice)
    prompt_id = await house.submit(alice, graph(1, seconds=0.3), client_id="browser")
    await house.in_state(prompt_id, "running")
    socket = house.works.follower._socket
    assert socket is not None
    house.works.follower._pause = 0.6
    socket._connection.transport.abort()
    await house.until(lambda: not house.works.connected, "the link is lost")
    row = await house.ended(prompt_id)
    assert (row.state, list(row.outputs), house.runs(prompt_id)) == ("succeeded", ["3"], 1)
    assert ear.is_over(prompt_id)


async def test_a_failure_while_nobody_listened_is_learned(house: House, sim: Simulator, alice: Person) -> None:
    """A job that was interrupted unasked while the gateway was away runs again; a start that was missed is a run."""
    prompt_id = await house.submit(alice, graph(1, seconds=0.5, steps=10))
    await house.in_state(prompt_id, "running")
    await house.kill()
    async with aiohttp.ClientSession() as session:
        await session.post(f"{sim.url}/interrupt")
    await house.until(lambda: prompt_id in sim.history, "it was stopped")
    await house.start()
    row = await house.ended(prompt_id)
    assert (row.state, row.attempts, house.runs(prompt_id)) == ("succeeded", 2, 2)


async def test_secrets_are_lost_with_the_gateway(house: House, sim: Simulator, alice: Person) -> None:
    """A job that lost its keys to a restart fails and says so; they are never in the database."""
    sim.faults.stop_executing = True
    keys = {"api_key_comfy_org": "hush-hush-1", "auth_token_comfy_org": "hush-hush-2"}
    ids = [await house.submit(alice, graph(number), extra_data=keys, client_id="browser") for number in range(4)]
    assert b"hush-hush" not in house.database_bytes()
    ear = house.listen(alice)
    await restart(house)
    sim.faults.stop_executing = False
    rows = [await house.ended(one) for one in ids]
    assert [row.state for row in rows] == ["succeeded", "succeeded", "failed", "failed"]
    assert [row.error["exception_type"] for row in rows if row.error] == ["secrets_lost"] * 2
    assert [data["prompt_id"] for data in ear.of("execution_error")] == ids[2:]
    assert b"hush-hush" not in house.database_bytes()


async def test_an_unknown_job_is_absent_only_after_two_looks(house: House, sim: Simulator, alice: Person) -> None:
    """An unanswered submit that is in two looks neither in the queue nor in the history is withdrawn, and gives its
    place and its id back."""
    sim.faults.stop_executing = True
    prompt_id = str(uuid.uuid4())
    held = await house.submit(alice, graph("held"))
    sim.faults.drop_post_answer = 1
    with pytest.raises(UpstreamFault):
        await house.submit(alice, graph(1), prompt_id=prompt_id)
    await delete_directly(house, prompt_id)
    live = house.live(prompt_id)
    assert live is not None
    assert live.placed
    await house.until(lambda: live.absent_since is not None, "it was missed once")
    assert house.state(prompt_id) == "unknown"
    await house.until(lambda: house.live(prompt_id) is None, "it is withdrawn")
    assert await house.row(prompt_id) is None
    assert house.works.views.count(alice.id) == 1
    sim.faults.stop_executing = False
    await house.ended(held)
    await house.ended(await house.submit(alice, graph(1), prompt_id=prompt_id))
    assert house.runs(prompt_id) == 1


async def test_an_unknown_job_that_arrives_late_runs_once(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POST that ComfyUI carries out only after a first look missed it is adopted."""
    real = house.server.send_json
    late: list[bytes] = []

    async def lost(method: str, path: str, body: bytes | None, **options: Any) -> Any:
        if path == "/prompt" and not late:
            late.append(body or b"")
            raise UpstreamFault("ComfyUI broke off the connection.")
        return await real(method, path, body, **options)

    monkeypatch.setattr(house.server, "send_json", lost)
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(alice, graph(1))
    prompt_id = str(caught.value.extra_info["prompt_id"])
    live = house.live(prompt_id)
    assert live is not None
    await house.until(lambda: live.absent_since is not None, "it was missed once")
    await real("POST", "/prompt", late[0], timeout=5)
    assert ((await house.ended(prompt_id)).state, house.runs(prompt_id)) == ("succeeded", 1)


@pytest.mark.parametrize("question", ["queue", "entry"])
async def test_an_event_is_newer_than_a_look(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """A job that starts after ComfyUI's queue, or history, was read without it is not taken for lost."""
    real_send, real_question = house.server.send_json, getattr(look, question)
    late: list[bytes] = []

    async def lost(method: str, path: str, body: bytes | None, **options: Any) -> Any:
        if path == "/prompt":
            late.append(body or b"")
            raise UpstreamFault("ComfyUI broke off the connection.")
        return await real_send(method, path, body, **options)

    async def old(desk: Any, *rest: Any) -> Any:
        answer = await real_question(desk, *rest)
        if late:
            await real_send("POST", "/prompt", late.pop(), timeout=5)
            await house.until(lambda: "running" in [live.state for live in desk.board], "its start is noted")
        return answer

    monkeypatch.setattr(house.server, "send_json", lost)
    monkeypatch.setattr(look, question, old)
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(alice, graph(1, seconds=0.3))
    row = await house.ended(str(caught.value.extra_info["prompt_id"]))
    assert (row.state, house.runs(row.prompt_id)) == ("succeeded", 1)


async def test_a_job_that_vanished_from_comfyuis_queue_is_handed_over_again(
    house: House, sim: Simulator, alice: Person
) -> None:
    """Somebody on the host empties ComfyUI's queue: nothing that was accepted disappears."""
    sim.faults.stop_executing = True
    ids = [await house.submit(alice, graph(number)) for number in range(3)]
    await delete_directly(house, ids[1])
    await house.until(lambda: house.state(ids[1]) == "waiting" or len(house.happened("queued", ids[1])) > 1, "seen")
    sim.faults.stop_executing = False
    rows = [await house.ended(one) for one in ids]
    assert [(row.state, house.runs(row.prompt_id)) for row in rows] == [("succeeded", 1)] * 3


async def test_a_wish_outlives_the_gateway(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cancellation that was asked for before the gateway died is carried out by the next one."""
    ids = [await house.submit(alice, graph(number, seconds=20, steps=400)) for number in range(3)]
    await house.in_state(ids[0], "running")
    for prompt_id in ids:
        await house.store.ledger.request_cancel(prompt_id)
    await restart(house)
    rows = [await house.ended(one) for one in ids]
    assert [row.state for row in rows] == ["cancelled"] * 3
    assert [house.runs(one) for one in ids] == [1, 0, 0]


async def test_a_parked_job_does_not_stay_at_its_parking_number(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was to be validated only and is found at ComfyUI after a crash is taken out and waits its turn."""
    sim.faults.stop_executing = True
    held = [await house.submit(alice, graph(f"held{number}")) for number in range(2)]
    left = asyncio.Event()

    async def never(*_: Any) -> Any:
        left.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(submission, "leave", never)
    prompt_id = str(uuid.uuid4())
    submitting = asyncio.create_task(house.submit(alice, graph(1), prompt_id=prompt_id))
    await left.wait()
    assert prompt_id in sim.queue_pending
    submitting.cancel()
    await asyncio.gather(submitting, return_exceptions=True)
    await restart(house)
    assert house.state(prompt_id) == "waiting"
    assert sim.queue_running + sim.queue_pending == held
    sim.faults.stop_executing = False
    assert ((await house.ended(prompt_id)).state, house.runs(prompt_id)) == ("succeeded", 1)


async def test_looking_all_the_time_harms_nothing(house: House, alice: Person, bob: Person) -> None:
    """A look at any moment believes only what it saw: no job is lost, parked twice or run twice because of it."""

    async def look() -> None:
        while True:
            await house.works._recovery.look()
            await asyncio.sleep(0)

    looking = [asyncio.create_task(look()) for _ in range(2)]
    offers = [house.submit((alice, bob)[number % 2], graph(number, seconds=0.02)) for number in range(30)]
    ids = await asyncio.gather(*offers)
    await house.idle()
    for task in looking:
        task.cancel()
    await asyncio.gather(*looking, return_exceptions=True)
    rows = [await house.row(one) for one in ids]
    assert [(row.state, row.attempts) for row in rows if row] == [("succeeded", 1)] * 30
    assert sorted(house.order()) == sorted(ids)
    assert house.most_held() <= 2


async def test_the_gateway_starts_without_a_server(house: House, sim: Simulator, alice: Person) -> None:
    """ComfyUI may be down at start; it is connected to as soon as it is there."""
    await house.kill()
    await sim.stop()
    await house.start(wait=False)
    await asyncio.sleep(0.3)
    assert not house.works.connected
    await sim.start()
    await house.connected()
    assert (await house.ended(await house.submit(alice, graph(1)))).state == "succeeded"


async def test_an_arrival_that_fails_is_tried_again(
    house: House, sim: Simulator, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong while the gateway looks round at a new connection, it takes jobs in the end."""
    real = house.works.follower._on_up
    faults: list[Exception] = [UpstreamFault("no"), RuntimeError("a bug")]

    async def failing() -> None:
        if faults:
            raise faults.pop()
        await real()

    house.works.follower._on_up = failing
    await house.works.follower.reconnect()
    await house.until(lambda: not faults, "it has failed twice")
    await house.connected()
    assert (await house.ended(await house.submit(alice, graph(1)))).state == "succeeded"


async def test_stopping_finishes_what_is_half_done(house: House, sim: Simulator, alice: Person) -> None:
    """At SIGTERM submits under way get their answer and ends are written down; the rest is found at the next start
    (F15)."""
    submitting = [asyncio.create_task(house.submit(alice, graph(number, seconds=0.2))) for number in range(4)]
    await asyncio.sleep(0.02)
    await house.stop()
    ids = await asyncio.gather(*submitting)
    await house.start()
    rows = [await house.ended(one) for one in ids]
    assert [(row.state, row.attempts, house.runs(row.prompt_id)) for row in rows] == [("succeeded", 1, 1)] * 4
