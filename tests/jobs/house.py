"""The jobs room, assembled in front of a simulated ComfyUI, with a gateway that can be killed and started again."""

import asyncio
import json
import os
import shutil
import sqlite3
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.comfy import prompt
from gateway.comfy.graph_policy import Policy
from gateway.demo.server import Happening, Simulator
from gateway.jobs.files import Owner
from gateway.jobs.follow import Rules
from gateway.jobs.hub import Listener, Outbox, Payload
from gateway.jobs.live import Live
from gateway.jobs.post import Refused
from gateway.jobs.submission import Accepted
from gateway.jobs.works import Works
from gateway.policy.terms import Terms
from gateway.store import Store
from gateway.store.ledger import Job
from gateway.upstream.server import Server

CLIENT_ID = "minted-for-this-gateway"
PATIENCE = 15.0
"""Seconds until a wait is a failure; no test waits as long when the code is right."""
ENDS = ("finished", "failed", "interrupted", "deleted")

Graph = dict[str, dict[str, Any]]


def graph(
    nonce: object,
    *,
    seconds: float = 0.05,
    steps: int = 1,
    previews: bool = False,
    text: bool = False,
    sign: str = "",
    save: str = "SaveImage",
) -> Graph:
    """A picture that takes its time; another nonce is another picture for the execution cache. `sign` is part of every
    node id, so that a frame that names a node names its owner."""
    wait = {"seconds": seconds, "steps": steps, "previews": previews, "text": text, "nonce": str(nonce)}
    first, slow, last = (f"{number}{sign}" for number in (1, 2, 3))
    prefix = {"filename_prefix": "house"} if save == "SaveImage" else {}
    return {
        first: {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
        slow: {"class_type": "LabSlow", "inputs": {"image": [first, 0], **wait}},
        last: {"class_type": save, "inputs": {"images": [slow, 0], **prefix}},
    }


def failing(message: str) -> Graph:
    """A graph whose node raises."""
    return {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 16, "height": 16, "batch_size": 1, "color": 5}},
        "2": {"class_type": "LabFail", "inputs": {"image": ["1", 0], "message": message}},
        "3": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "house"}},
    }


INVALID: Graph = {"1": {"class_type": "SaveImage", "inputs": {"filename_prefix": "house"}}}


@dataclass(frozen=True, slots=True)
class Person:
    """A user of the store."""

    id: int
    name: str


class Ear(Outbox):
    """An outbox that keeps all it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Payload] = []

    def put(self, payload: Payload, *, replaceable: bool = False) -> None:
        self.heard.append(payload)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """The text frames."""
        return [json.loads(payload) for payload in self.heard if isinstance(payload, str)]

    @property
    def binaries(self) -> list[bytes]:
        return [payload for payload in self.heard if isinstance(payload, bytes)]

    def types(self, prompt_id: str) -> list[str]:
        """The types of the text frames of one job, in order."""
        return [message["type"] for message in self.messages if message["data"].get("prompt_id") == prompt_id]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The data of all frames of one type."""
        return [message["data"] for message in self.messages if message["type"] == kind]

    def ids(self) -> set[str]:
        """Every prompt id that occurs in any frame, binary ones included."""
        texts = {message["data"]["prompt_id"] for message in self.messages if "prompt_id" in message["data"]}
        metadata = (payload for payload in self.binaries if payload[:4] == b"\0\0\0\4")
        return texts | {json.loads(raw[8 : 8 + int.from_bytes(raw[4:8], "big")])["prompt_id"] for raw in metadata}

    def is_over(self, prompt_id: str) -> bool:
        """Whether the last word on a job came."""
        return any(data["node"] is None and data.get("prompt_id") == prompt_id for data in self.of("executing"))


class House:
    """One gateway process in front of one ComfyUI. `sim` is the latter; `works` and `store` are this life's."""

    works: Works
    store: Store
    server: Server

    def __init__(self, sim: Simulator, template: Path, directory: Path, *, rules: Rules | None = None) -> None:
        self.sim = sim
        self.database = directory / "gateway.db"
        self.rules = rules or Rules()
        self.terms: dict[int, Terms] = {}
        self.clock_offset = 0.0
        self._listeners: list[Listener] = []
        shutil.copyfile(template, self.database)

    async def start(self, *, wait: bool = True) -> None:
        """Start a gateway over the database; `wait` until it takes jobs."""
        self.store = await Store.open(f"sqlite:///{self.database}")
        self.server = Server(self.sim.url)
        await self.server.start()
        self.works = Works(
            ledger=self.store.ledger,
            files=self.store.files,
            users=self.store.users,
            changes=self.store.changes,
            server=self.server,
            client_id=CLIENT_ID,
            rules=self.rules,
            owner_of=self._owner,
            shared=frozenset,
            ask_shared=self._nothing,
            history_days=90,
            now=lambda: time.time() + self.clock_offset,
        )
        for listener in self._listeners:
            self.works.hub.attach(listener)
        await self.works.start()
        if wait:
            await self.connected()

    async def _nothing(self) -> None:
        """No inputs are shared here."""

    async def _owner(self, user_id: int) -> Owner:
        root, policy = await self.store.roots.of(user_id), Policy(trusted_packs=("lab_slow",))
        return Owner(user_id, root, policy, self.terms.get(user_id, Terms()))

    async def connected(self) -> None:
        await self.until(lambda: self.works.connected, "the gateway takes jobs")

    async def stop(self) -> None:
        """End as at SIGTERM."""
        await self.works.stop()
        await self.server.close()
        await self.store.close()

    async def kill(self) -> None:
        """End as by `kill -9`: no task gets further than it is, nothing is drained, connections are cut."""
        works = self.works
        tasks = [
            *works._tasks,
            *works.submitter._under_way,
            *works._settler._under_way.values(),
            *works.follower._strays,
        ]
        if works.follower._socket is not None:
            works.follower._socket._connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.server.close()
        await self.store.close()

    def listen(self, person: Person, sid: str = "browser", *, metadata: bool = False) -> Ear:
        """A client's socket, which stays over a restart of the gateway as one that connects again would."""
        ear = Ear()
        listener = Listener(user_id=person.id, sid=sid, outbox=ear)
        listener.preview_metadata = metadata
        self._listeners.append(listener)
        if hasattr(self, "works"):
            self.works.hub.attach(listener)
        return ear

    async def offer(
        self, person: Person, nodes: Graph, *, cap: int = 500, token_id: str | None = None, **fields: Any
    ) -> Accepted | Refused:
        """Submit; `fields` are those of the body of POST /prompt."""
        body = json.dumps({"prompt": nodes, **fields}).encode()
        submission = prompt.parse(body, limits=prompt.Limits())
        return await self.works.submitter.submit(person.id, submission, cap=cap, token_id=token_id)

    async def submit(self, person: Person, nodes: Graph, **fields: Any) -> str:
        """Submit what is valid; the id."""
        outcome = await self.offer(person, nodes, **fields)
        assert isinstance(outcome, Accepted), outcome
        return outcome.prompt_id

    def database_bytes(self) -> bytes:
        """Every byte of the database's files."""
        return b"".join(path.read_bytes() for path in self.database.parent.glob(f"{self.database.name}*"))

    def read(self, query: str) -> list[tuple[Any, ...]]:
        """What another process would read from the database now: what was committed."""
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(query).fetchall()

    def booked(self) -> list[tuple[Any, ...]]:
        """By user what the books say: jobs, failed and cancelled ones, GPU milliseconds, and those of the budgets."""
        days = "(select coalesce(sum(gpu_ms), 0) from gpu_days where gpu_days.user_id = usage.user_id)"
        sums = "sum(jobs), sum(failed), sum(cancelled), sum(gpu_ms)"
        return self.read(f"select user_id, {sums}, {days} from usage group by user_id order by user_id")

    def ended_rows(self) -> list[tuple[Any, ...]]:
        """The same, counted in the ledger."""
        sums = "count(*), sum(state = 'failed'), sum(state = 'cancelled'), sum(gpu_ms), sum(gpu_ms)"
        ended = "state in ('succeeded', 'failed', 'cancelled')"
        return self.read(f"select user_id, {sums} from jobs where {ended} group by user_id order by user_id")

    def copies(self, prompt_id: str, count: int) -> list[str]:
        """Put copies of a row behind all others; while no gateway runs."""
        ids = [str(uuid.uuid4()) for _ in range(count)]
        with closing(sqlite3.connect(self.database)) as connection, connection:
            columns = [name for (name,) in connection.execute("select name from pragma_table_info('jobs')")]
            kept = ", ".join(name for name in columns if name not in ("seq", "prompt_id"))
            copy = f"insert into jobs (prompt_id, {kept}) select ?, {kept} from jobs where prompt_id = ?"
            connection.executemany(copy, [(one, prompt_id) for one in ids])
        return ids

    def live(self, prompt_id: str) -> Live | None:
        return self.works.desk.board.get(prompt_id)

    def state(self, prompt_id: str) -> str | None:
        """The state in memory, None for what has ended or never was."""
        live = self.live(prompt_id)
        return live.state if live else None

    async def row(self, prompt_id: str) -> Job | None:
        return await self.store.ledger.get(prompt_id)

    async def ended(self, prompt_id: str) -> Job:
        """The row of a job, once it has ended."""
        await self.until(lambda: self.live(prompt_id) is None, f"{prompt_id} ends")
        row = await self.row(prompt_id)
        assert row is not None, f"{prompt_id} has disappeared"
        return row

    async def idle(self) -> None:
        """Wait until nobody has an unfinished job."""
        await self.until(lambda: not list(self.works.desk.board), "all jobs end")

    async def in_state(self, prompt_id: str, state: str) -> None:
        await self.until(lambda: self.state(prompt_id) == state, f"{prompt_id} is {state}")

    async def until(
        self, condition: Callable[[], bool | Awaitable[bool]], what: str, *, seconds: float = PATIENCE
    ) -> None:
        """Wait for a condition, with a deadline."""
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            met = condition()
            if met if isinstance(met, bool) else await met:
                return
            if asyncio.get_running_loop().time() > deadline:
                states = {live.prompt_id: (live.state, live.placed, live.busy) for live in self.works.desk.board}
                raise AssertionError(f"waited in vain until {what}; up: {self.works.connected}, board: {states}")
            await asyncio.sleep(0.005)

    def runs(self, prompt_id: str) -> int:
        """How often ComfyUI has started a job."""
        return len(self.happened("started", prompt_id))

    def happened(self, kind: str, prompt_id: str | None = None) -> list[Happening]:
        """What ComfyUI did, of one kind (and to one job)."""
        entries = [entry for entry in self.sim.log if entry.kind == kind]
        return [entry for entry in entries if prompt_id is None or entry.prompt_id == prompt_id]

    def order(self) -> list[str]:
        """The ids of the jobs in the order in which ComfyUI started them."""
        return [str(entry.prompt_id) for entry in self.happened("started")]

    def most_held(self) -> int:
        """The most jobs that ComfyUI ever held at a time, those not counted that were taken out again at once."""
        held: set[str] = set()
        most = 0
        for place, entry in enumerate(self.sim.log):
            if entry.kind == "crashed":
                held.clear()
            elif entry.kind == "queued" and not _was_parked(self.sim.log[place + 1 :], entry.prompt_id):
                held.add(str(entry.prompt_id))
            elif entry.kind in ENDS:
                held.discard(str(entry.prompt_id))
            most = max(most, len(held))
        return most

    def requests(self, method: str, path: str) -> int:
        """How often ComfyUI was asked for a path."""
        return sum(entry.detail[:2] == (method, path) for entry in self.happened("request"))


def _was_parked(later: Iterable[Happening], prompt_id: str | None) -> bool:
    """Whether the next thing that became of a queued job is that it was taken out."""
    for entry in later:
        if entry.prompt_id == prompt_id and entry.kind in ("started", *ENDS):
            return entry.kind == "deleted"
    return False


async def template(path: Path) -> tuple[Person, Person]:
    """A database with two users, to be copied: migrations take longer than most tests."""
    async with await Store.open(f"sqlite:///{path}") as store:
        added = [
            await store.users.add(name, role="member", now=time.time(), random=os.urandom) for name in ("alice", "bob")
        ]
    alice, bob = (Person(user.id, user.name) for user in added)
    return alice, bob
