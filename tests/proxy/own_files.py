"""What the tests of files and uploads share: a gateway that shares one name, and looks into the server's folders."""

import io
from pathlib import Path

from PIL import Image
from yarl import URL

from gateway.comfy.files import FileRef
from gateway.store import Store
from gateway.store.transactions import url_of
from tests.house import House, Said

VERSIONS = ("0.28.1", "0.3.64")
NOBODY = "users/" + "0" * 32


def picture(color: int = 1, size: int = 8) -> bytes:
    """A PNG in one colour."""
    out = io.BytesIO()
    Image.new("RGB", (size, size), (color, color, color)).save(out, "PNG")
    return out.getvalue()


async def root_of(built: House, name: str) -> str:
    """The folder of a user."""
    async with await Store.open(url_of(built.settings)) as store:
        user = await store.users.by_name(name)
        assert user is not None
        return (await store.roots.of(user.id)).path


def put(built: House, ref: FileRef, content: bytes) -> Path:
    """A file on the server, by the name that the server gives it."""
    folder = built.simulator.directory / ref.type / ref.subfolder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ref.filename
    path.write_bytes(content)
    return path


async def own(built: House, name: str, type_: str, filename: str, content: bytes) -> None:
    """A file below the user's root."""
    put(built, FileRef.read(type_, await root_of(built, name), filename), content)


async def record(built: House, name: str, ref: FileRef, content: bytes) -> None:
    """A file outside the roots, recorded for the user."""
    put(built, ref, content)
    async with await Store.open(url_of(built.settings)) as store:
        user = await store.users.by_name(name)
        assert user is not None
        boot = await store.files.boot(built.simulator.url, lambda: "boot1")
        assert await store.files.record(built.simulator.url, boot, ref, user_id=user.id, prompt_id="p")


async def view(
    built: House,
    by: str,
    query: str,
    *,
    method: str = "GET",
    path: str = "/view",
    headers: dict[str, str] | None = None,
) -> Said:
    """What a user gets at /view; the query goes out as it is written here."""
    url = URL(f"{built.url}{path}?{query}", encoded=True)
    sent = {"X-API-Key": built.tokens[by], **(headers or {})}
    async with built.http.request(method, url, headers=sent) as answer:
        return Said(answer.status, answer.headers.copy(), await answer.read())


def shown(said: Said) -> tuple[int, bytes, dict[str, str]]:
    """An answer without what differs between any two: its request id, its date."""
    headers = {name.lower(): value for name, value in said.headers.items()}
    request_id = headers.pop("x-request-id")
    for counted in ("date", "ratelimit-remaining", "ratelimit-reset"):
        headers.pop(counted, None)
    return said.status, said.body.replace(request_id.encode(), b""), headers
