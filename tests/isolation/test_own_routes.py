"""The gateway's own routes: bob asks for what is alice's, by the names that she and the server have for it.

A route of the OpenAPI document without an entry here fails: whoever adds one says how a stranger would ask for what it
serves.
"""

import gc
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.house import House, Said, house
from tests.isolation.things import SECRET, Things, kept, owned, sent

FILES = "/gateway/api/v1/files"
QUEUE = "/gateway/api/v1/queue"
USAGE = "/gateway/api/v1/usage"
NAMES = (
    {"type": "output", "filename": "$shot"},
    {"type": "output", "filename": "$shot", "subfolder": "$root"},
    {"type": "output", "filename": "$shot", "subfolder": "../$key"},
    {"type": "output", "filename": "../$key/$shot"},
    {"type": "output", "filename": "$shot", "subfolder": "USERS/$key"},
    {"type": "input", "filename": "$upload"},
    {"type": "input", "filename": "$upload", "subfolder": "$root"},
    {"type": "input", "filename": "$nested", "subfolder": "$root/$folder"},
    {"type": "input", "filename": "$mask", "subfolder": "./$root"},
    {"type": "temp", "filename": "$temp"},
    {"type": "output", "filename": "$key", "subfolder": "users"},
)
LISTS = ("", "?type=output", "?subfolder=$root", "?subfolder=$folder", "?type=input&subfolder=$root%2F$folder")

NOTHING_OF_USERS = {
    "GET /gateway/healthz",
    "GET /gateway/readyz",
    "POST /gateway/api/v1/auth/token",
    "GET /gateway/api/v1/me",
}
"""Routes that take no name of anything, or answer about the credential alone."""
MATRIX: dict[str, tuple[tuple[str, Any], ...]] = {
    f"GET {QUEUE}": ((QUEUE, None), (f"{QUEUE}?all=true", None), (f"{QUEUE}?user=alice", None)),
    f"GET {USAGE}": tuple((f"{USAGE}{query}", None) for query in ("", "?user=alice", "?user=Alice&format=csv")),
    f"GET {FILES}": tuple((f"{FILES}{query}", None) for query in LISTS),
    f"DELETE {FILES}": tuple(
        (f"{FILES}?" + "&".join(f"{field}={text}" for field, text in name.items()), None) for name in NAMES
    ),
    f"POST {FILES}/delete": tuple((f"{FILES}/delete", {"files": [name]}) for name in NAMES),
}

pytestmark = [
    pytest.mark.filterwarnings("ignore:unread_data:DeprecationWarning"),
    pytest.mark.timeout(240),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What a test left to the garbage collector is not reported to a later one."""
    yield
    gc.collect()


async def test_bob_walks_our_own_routes(tmp_path: Path) -> None:
    """An answer about what is alice's is the answer about what nobody has, and nothing of hers changes or is told."""
    async with house(tmp_path, mounted=True) as built:
        document = (await built.ask("GET", "/gateway/openapi.json", by="bob")).json()
        routes = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
        assert routes == {*MATRIX, *NOTHING_OF_USERS}
        things = await owned(built)
        before = await kept(built, things)
        for route, asks in MATRIX.items():
            for target, body in asks:
                hers = await _asked(built, route, target, body, things)
                nothing = await _asked(built, route, target, body, things.twin())
                assert _comparable(hers, things) == _comparable(nothing, things.twin()), (route, target, body)
                assert SECRET.encode() not in hers.body and hers.status < 500
        assert await kept(built, things) == before


async def _asked(built: House, route: str, target: str, body: Any, things: Things) -> Said:
    names = things.names()
    method = route.partition(" ")[0]
    written = Template(target).substitute({name: quote(text, "") for name, text in names.items()})
    if body is None:
        return await sent(built, method, written.replace("../", "..%2F"), by="bob")
    text = Template(orjson.dumps(body).decode()).substitute(names)
    return await sent(
        built, method, written, by="bob", data=text.encode(), headers={"Content-Type": "application/json"}
    )


def _comparable(said: Said, things: Things) -> tuple[int, bytes]:
    """An answer without its request id and without the names that the request said."""
    told = said.body.replace(said.headers["X-Request-ID"].encode(), b"")
    for name, text in sorted(things.names().items(), key=lambda item: -len(item[1])):
        told = told.replace(text.encode(), f"${name}".encode())
    return said.status, told
