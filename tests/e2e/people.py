"""People who use a gateway in a browser, and where the pictures of what they saw are kept. It does not know what they
do there."""

import os
import uuid
from dataclasses import dataclass
from pathlib import Path

import requests

from tests.e2e.conftest import PATIENCE, Door
from tests.e2e.editor import emptied

ARTIFACTS = Path(os.environ.get("TEST_ARTIFACTS") or Path(__file__).parent.parent / "artifacts")


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a password, and a word that is in the names of all that is theirs."""

    name: str
    password: str


def person(door: Door, name: str, **limits: object) -> Person:
    """A new member; a limit is given as `max_queued=1`, one in a table as `rates__submit="1/minute"`."""
    name = f"{name}{uuid.uuid4().hex[:8]}"
    password = f"{name}'s own password"
    door.command("user", "add", name, "--password-stdin", stdin=password)
    for limit, value in limits.items():
        door.command("user", "set", name, "--limit", f"{limit.replace('__', '.')}={value}")
    return Person(name, password)


def pictures(door: Door, what: str) -> Path:
    """An empty folder for the pictures of these tests, for each version of ComfyUI."""
    system = requests.get(f"{door.comfy.url}/system_stats", timeout=PATIENCE).json()["system"]
    kind = "simulated" if door.comfy.process else "real"
    return emptied(ARTIFACTS / what / f"{kind}-{system['comfyui_version']}")
