"""`comfy-gateway usage`."""

import time
import uuid

from gateway.store import Store
from gateway.store.ledger import NewJob
from tests.cli.conftest import Look, Run

NOW_MS = int(time.time() * 1000)
DAY_MS = 86_400_000


def ran(look: Look, name: str, gpu_ms: int, *, days_ago: int = 0, model: str = "") -> None:
    """A job of the user's ended."""

    async def done(store: Store) -> None:
        user = await store.users.by_name(name)
        assert user is not None
        at = NOW_MS - days_ago * DAY_MS
        new = NewJob(
            prompt_id=str(uuid.uuid4()),
            user_id=user.id,
            client_id=None,
            front=False,
            number=None,
            created_at=at,
            prompt={},
            extra_data={},
            targets=None,
            had_secrets=False,
            model=model,
        )
        job = await store.ledger.reserve(new, cap=100)
        assert job is not None
        assert await store.ledger.finish(job, "succeeded", weight=1.0, gpu_ms=gpu_ms, ended_at=at)

    look(done)


def test_what_everybody_and_one_used(run: Run, look: Look) -> None:
    """By day, user, token and model, with the sum; of one user with how the user's budgets stand."""
    for name in ("ann", "bob"):
        run("user", "add", name)
    run("user", "set", "ann", "--limit", "gpu_seconds_per_month=100")
    ran(look, "ann", 1500, model="checkpoints/a.st")
    ran(look, "bob", 2500)
    ran(look, "bob", 4000, days_ago=10)
    everybody = run("usage")
    assert (everybody.code, everybody.err) == (0, "")
    heads, *lines = [line.split() for line in everybody.out.splitlines()]
    assert heads[:4] == ["DAY", "USER", "TOKEN", "MODEL"]
    assert [line[1:] for line in lines[:-1]] == [
        ["bob", "-", "-", "1", "0", "0", "4.0", "0", "0"],
        ["ann", "-", "checkpoints/a.st", "1", "0", "0", "1.5", "0", "0"],
        ["bob", "-", "-", "1", "0", "0", "2.5", "0", "0"],
    ]
    assert lines[-1] == ["TOTAL", "3", "0", "0", "8.0", "0", "0"]
    anns = run("usage", "ann")
    assert len(anns.out.splitlines()) == 3
    assert anns.err.startswith("Budget: 100 GPU seconds a month: 1.5 used, 0.0 expected; anew at ")
    assert len(run("usage", "bob", "--since", "5d").out.splitlines()) == 3
    first = time.strftime("%Y-%m-%d", time.gmtime((NOW_MS - 10 * DAY_MS) / 1000))
    assert len(run("usage", "bob", "--since", first).out.splitlines()) == 4


def test_as_csv(run: Run, look: Look) -> None:
    """`--csv` is what the address gives, alone on standard output."""
    run("user", "add", "ann")
    ran(look, "ann", 1500)
    heads, row = run("usage", "--csv").out.splitlines()
    assert heads == "user,day,token_id,token,model,jobs,failed,cancelled,gpu_seconds,uploaded_bytes,sent_bytes"
    assert row.startswith("ann,") and row.endswith(",,,,1,0,0,1.5,0,0")


def test_what_cannot_be_said(run: Run) -> None:
    """A user that there is not, and what is no time, are refused in one line."""
    run("user", "add", "ann")
    assert run("usage", "bob").err == "comfy-gateway: There is no user “bob”.\n"
    assert run("usage", "--since", "2026-02-30").err == "comfy-gateway: There is no day 2026-02-30.\n"
    assert "is no duration" in run("usage", "--since", "lately").err
