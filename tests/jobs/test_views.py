"""A user's jobs as ComfyUI would show them."""

import pytest

from gateway.comfy import jobs as shapes
from gateway.comfy.files import visible_json
from gateway.comfy.listing import JobsQuery
from gateway.demo.server import Simulator
from gateway.errors import UpstreamFault
from tests.jobs.house import House, Person, failing, graph


async def test_the_queue_is_ones_own_in_the_order_of_running(
    house: House, sim: Simulator, alice: Person, bob: Person
) -> None:
    """Running and pending jobs of the caller only, the pending ones as they will run."""
    sim.faults.stop_executing = True
    ids = [await house.submit(alice, graph(number)) for number in range(4)]
    urgent = await house.submit(alice, graph("urgent"), front=True)
    foreign = await house.submit(bob, graph("bob"))
    await house.in_state(ids[0], "running")
    shown = await house.works.views.queue(alice.id)
    assert [view.prompt_id for view in shown] == [ids[0], ids[1], urgent, ids[2], ids[3]]
    assert [view.state for view in shown] == ["in_progress"] + ["pending"] * 4
    assert [view.prompt_id for view in await house.works.views.queue(bob.id)] == [foreign]
    assert (house.works.views.count(alice.id), house.works.views.count(bob.id)) == (5, 1)


async def test_clients_read_their_own_client_id(house: House, alice: Person) -> None:
    """`client_id` in extra_data is the client's own again, and absent if it gave none."""
    ids = [await house.submit(alice, graph(number), **fields) for number, fields in enumerate(({"client_id": "x"}, {}))]
    await house.idle()
    named, plain = [await house.works.views.one(alice.id, one) for one in ids]
    assert named is not None
    assert plain is not None
    assert named.extra_data == {"client_id": "x", "create_time": named.create_time}
    assert "client_id" not in plain.extra_data


async def test_nobody_sees_anothers_job(house: House, alice: Person, bob: Person) -> None:
    """Somebody else's job looks like none, whatever is asked."""
    prompt_id = await house.submit(alice, graph(1))
    await house.ended(prompt_id)
    views = house.works.views
    assert await views.one(bob.id, prompt_id) is None
    assert await views.history(bob.id, limit=9, offset=None) == []
    assert await views.page(bob.id, JobsQuery()) == ([], 0)
    assert [view.prompt_id for view in await views.history(alice.id, limit=9, offset=None)] == [prompt_id]


async def test_history_entries_are_comfyuis(house: House, sim: Simulator, alice: Person) -> None:
    """Outputs, status and meta are those of ComfyUI's own history entry, under the client's number."""
    ids = [await house.submit(alice, nodes, client_id="x") for nodes in (graph(1), failing("boom"), graph(2))]
    await house.idle()
    shown = shapes.history(await house.works.views.history(alice.id, limit=9, offset=None))
    assert list(shown) == ids
    for number, prompt_id in enumerate(ids):
        theirs, ours = visible_json(sim.history[prompt_id], await house.store.roots.of(alice.id)), shown[prompt_id]
        assert (ours["outputs"], ours["meta"]) == (theirs["outputs"], theirs["meta"])
        assert ours["status"]["status_str"] == theirs["status"]["status_str"]
        assert ours["prompt"][:3] == [number, prompt_id, theirs["prompt"][2]]
        assert ours["prompt"][4] == theirs["prompt"][4]


async def test_a_failed_job_shows_its_error(house: House, alice: Person) -> None:
    """/api/jobs shows execution_error of a failed job, and no other."""
    ids = [await house.submit(alice, nodes) for nodes in (graph(1), failing("boom"))]
    await house.idle()
    well, failed = [await house.works.views.one(alice.id, one) for one in ids]
    assert well is not None
    assert failed is not None
    assert (well.state, well.error) == ("completed", None)
    assert (failed.state, failed.error and failed.error["exception_message"]) == ("failed", "boom\n")


async def test_what_was_removed_is_shown_nowhere(house: House, alice: Person) -> None:
    """A job that was taken out of the history is gone from every view."""
    prompt_id = await house.submit(alice, graph(1))
    await house.ended(prompt_id)
    await house.store.ledger.hide(alice.id, [prompt_id])
    assert await house.works.views.one(alice.id, prompt_id) is None
    assert await house.works.views.page(alice.id, JobsQuery()) == ([], 0)


async def test_a_page_holds_the_states_that_were_asked_for(house: House, sim: Simulator, alice: Person) -> None:
    """One page of /api/jobs, filtered by state, with the number of all."""
    done = await house.submit(alice, graph(1))
    await house.ended(done)
    sim.faults.stop_executing = True
    ids = [await house.submit(alice, graph(number)) for number in (2, 3, 4)]
    await house.in_state(ids[0], "running")
    views, total = await house.works.views.page(alice.id, JobsQuery(status=frozenset({"pending"}), limit=1))
    assert ([view.state for view in views], total) == (["pending"], 2)
    views, total = await house.works.views.page(alice.id, JobsQuery(status=frozenset({"completed", "in_progress"})))
    assert ({view.prompt_id for view in views}, total) == ({done, ids[0]}, 2)


async def test_a_job_is_shown_when_its_client_knows_it(house: House, sim: Simulator, alice: Person) -> None:
    """A job without an answer yet is not shown; one whose answer was lost is pending, so that it can be cancelled."""
    sim.faults.stop_executing = True
    await house.submit(alice, graph("held"))
    sim.faults.drop_post_answer = 1
    house.works.desk.link.up.clear()
    house.works.desk.link.up.set()
    with pytest.raises(UpstreamFault) as caught:
        await house.submit(alice, graph(1))
    prompt_id = str(caught.value.extra_info["prompt_id"])
    view = await house.works.views.one(alice.id, prompt_id)
    assert view is not None
    assert view.state == "pending"


async def test_every_change_is_a_new_revision(house: House, alice: Person, bob: Person) -> None:
    """What an ETag is made of changes whenever something the user can see does, and not for others."""
    before, others = house.works.views.revision(alice.id), house.works.views.revision(bob.id)
    prompt_id = await house.submit(alice, graph(1))
    between = house.works.views.revision(alice.id)
    await house.ended(prompt_id)
    assert before < between < house.works.views.revision(alice.id)
    assert house.works.views.revision(bob.id) == others
