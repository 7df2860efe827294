"""The house of the README, drawn again from the imports: they go down only, and rooms on one floor never import each
other."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "gateway"
FLOORS = (
    ("errors", "config", "log"),
    ("comfy", "identity"),
    ("policy",),
    ("store", "upstream"),
    ("jobs",),
    ("proxy", "api", "web", "edge"),
    ("app",),
    ("cli", "demo"),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
ENTRANCES = {"__init__", "__main__"}
"""The package itself: its version, and `python -m gateway`."""

ONE_ADDRESS = {
    "jose": {"identity"},
    "authlib": {"identity"},
    "joserfc": {"identity"},
    "argon2": {"identity"},
    "sqlalchemy": {"store"},
    "alembic": {"store"},
    "aiosqlite": {"store"},
    "asyncpg": {"store"},
    "httpx": {"upstream"},
    "websockets": {"upstream"},
    "yarl": {"upstream"},
    "aiohttp": {"demo"},
    "PIL": {"demo"},
    "limits": {"edge"},
    "slowapi": {"edge"},
    "typer": {"cli"},
}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""
            if node.module == "gateway":
                yield from (f"gateway.{alias.name}" for alias in node.names)


def imported_rooms(path: Path) -> set[str]:
    return {name.split(".")[1] for name in imported(path) if name.startswith("gateway.")} - {"__version__"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_only(path: Path) -> None:
    """A room imports only rooms on lower floors, and never its neighbour."""
    room = room_of(path)
    if room in ENTRANCES:
        assert imported_rooms(path) <= {"cli"}
        return
    for other in imported_rooms(path) - {room}:
        beside = FLOOR[other] == FLOOR[room] and FLOOR[room] != 0 and (room, other) != ("cli", "demo")
        assert FLOOR[other] <= FLOOR[room], f"{room} imports {other}, which is above it"
        assert not beside, f"{room} imports {other}, which is beside it"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_vendor_has_one_address(path: Path) -> None:
    """Each third-party engine is imported by one room, which translates its errors."""
    for name in imported(path):
        allowed = ONE_ADDRESS.get(name.split(".")[0])
        assert allowed is None or room_of(path) in allowed, f"{path} imports {name}"


def test_every_room_stands_on_a_floor() -> None:
    """No room is missing from the drawing."""
    rooms = {room_of(path) for path in modules()} - ENTRANCES
    assert rooms <= set(FLOOR), rooms - set(FLOOR)


def test_the_readme_draws_this_house() -> None:
    """The floors in the README are these floors."""
    readme = (PACKAGE.parent / "README.md").read_text()
    for number, rooms in enumerate(FLOORS):
        drawn = next(line for line in readme.splitlines() if line.startswith(f"{number}  "))
        for room in rooms:
            assert room in drawn.split(), f"floor {number} of the README lacks {room}"


@pytest.mark.parametrize(
    "path", [path for path in modules() if path.name == "__init__.py"], ids=lambda path: path.parent.name
)
def test_a_room_says_what_it_is(path: Path) -> None:
    """Each room's first words say what it knows and what it must never know."""
    assert ast.get_docstring(ast.parse(path.read_text())), path
