"""`comfy-gateway demo`: the gateway in front of a simulated ComfyUI, with two users, nothing kept. It does not know
what they may do."""

import asyncio
import json
import secrets
import shlex
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gateway.app import Gateway, first_start
from gateway.cli.place import note
from gateway.cli.serve import address, server
from gateway.config import Settings, load
from gateway.demo.example import text_to_image
from gateway.demo.server import Simulator
from gateway.edge.access_log import AccessLog
from gateway.identity.passwords import Passwords
from gateway.identity.tokens import mint
from gateway.store import Store, TokenRow
from gateway.store.transactions import url_of

USERS = ("alice", "bob")
PASSWORD_BYTES = 9
ROLES = {"member": {"nodes": {"trusted_packs": ["lab_slow"]}}}
"""The simulated ComfyUI has one custom pack, whose slow node shows progress and previews."""


def demo(
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 8190,
    front_end_root: Annotated[
        Path | None, typer.Option(help="The folder of a ComfyUI frontend to show, instead of a small page.")
    ] = None,
) -> None:
    """Try the gateway: a simulated ComfyUI, two users, and one curl line that makes a picture."""
    if front_end_root is not None and not (front_end_root / "index.html").is_file():
        raise typer.BadParameter(f"there is no index.html in {front_end_root}")
    with tempfile.TemporaryDirectory(prefix="comfy-gateway-demo-") as directory:
        asyncio.run(_demo(port, Path(directory), front_end_root))


async def _demo(port: int, directory: Path, front_end_root: Path | None) -> None:
    simulator = Simulator(directory=directory / "comfyui", seconds_per_step=0.15, front_end_root=front_end_root)
    await simulator.start()
    try:
        flags = {"comfyui": [simulator.url], "port": port, "data_dir": directory / "gateway", "roles": ROLES}
        flags["comfyui_files"] = directory / "comfyui"
        settings = load(config=None, flags=flags, environ={})
        await first_start(settings)
        print(await _introduction(settings), flush=True)
        await server(settings, Gateway(settings, access_log=AccessLog(json=False))).serve()
    finally:
        await simulator.stop()
        note("Stopped; nothing was kept.")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody to be, in the demonstration."""

    name: str
    password: str
    token: str


async def _introduction(settings: Settings) -> str:
    people = [await _person(settings, name) for name in USERS]
    lines = [
        "",
        f"The gateway is at {address(settings)}/ and behind it is a simulated ComfyUI. Two users:",
        "",
        *(f"  {person.name:6} password {person.password}  token {person.token}" for person in people),
        "",
        f"Make a picture as {people[0].name}:",
        "",
        curl_line(address(settings), people[0].token),
        "",
    ]
    return "\n".join(lines)


async def _person(settings: Settings, name: str) -> Person:
    password, minted, now = secrets.token_urlsafe(PASSWORD_BYTES), mint(secrets.token_bytes), time.time()
    async with await Store.open(url_of(settings)) as store:
        user = await store.users.add(
            name, role="member", now=now, random=secrets.token_bytes, password_hash=Passwords().hash(password)
        )
        await store.tokens.add(
            TokenRow(
                minted.id,
                user_id=user.id,
                name="demo",
                digest=minted.digest,
                scopes=None,
                created_at=now,
                expires_at=None,
            )
        )
    return Person(name, password, minted.secret_text)


def curl_line(base: str, token: str) -> str:
    """One line that submits a picture, waits for it, and keeps it as picture.png."""
    header = f"-H 'X-API-Key: {token}'"
    body = shlex.quote(json.dumps({"prompt": text_to_image(seed=7, size=256, prefix="hello")}))
    wait = "--retry 30 --retry-delay 1 --retry-all-errors"
    return (
        f"curl -sSf {header} -d {body} {base}/prompt -o /dev/null --next "
        f"-sf {wait} {header} '{base}/view?filename=hello_00001_.png' -o picture.png"
    )
