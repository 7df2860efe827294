"""Files that go with their user, by `comfy-gateway user remove`."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.store import Store
from tests.cli.conftest import Look, Run


@pytest.fixture
def comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's data directory, mounted."""
    made = tmp_path / "comfyui"
    for name in ("input", "output", "temp"):
        (made / name).mkdir(parents=True)
    monkeypatch.setenv("GATEWAY_COMFYUI_FILES", str(made))
    return made


def root(look: Look, name: str) -> str:
    async def asked(store: Store) -> str:
        user = await store.users.by_name(name)
        assert user is not None
        return (await store.roots.of(user.id)).path

    return look(asked)


def give(comfyui: Path, root: str, *names: str) -> None:
    for name in names:
        path = comfyui / "output" / root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("four")


def tree(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_files_go_with_the_user(run: Run, look: Look, comfyui: Path) -> None:
    """`user remove` deletes the user's files too, says so, and it is remembered until nothing can be left."""
    for name in ("ann", "bob"):
        run("user", "add", name)
    give(comfyui, root(look, "ann"), "a.png")
    give(comfyui, root(look, "bob"), "old/b.png")
    ran = run("user", "remove", "ann")
    assert (ran.code, ran.out, ran.err) == (0, "", "Removed ann and 1 file.\n")
    assert tree(comfyui / "output") == {f"{root(look, 'bob')}/old/b.png"}
    assert len(look(lambda store: store.removed_users.all())) == 1


def test_files_may_be_kept(run: Run, look: Look, comfyui: Path) -> None:
    """`--keep-files` leaves them, says where, and nothing deletes them later."""
    run("user", "add", "ann")
    mine = root(look, "ann")
    give(comfyui, mine, "a.png", "b.png")
    ran = run("user", "remove", "ann", "--keep-files")
    assert ran.err == f"Removed ann. Files stay where they are: {mine} in ComfyUI's input and output folders.\n"
    assert len(tree(comfyui / "output")) == 2
    assert look(lambda store: store.removed_users.all()) == ()


def test_a_disk_that_refuses_does_not_keep_the_user(
    run: Run, look: Look, comfyui: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user is gone first; files that cannot be deleted now are left to the gateway."""
    run("user", "add", "ann")
    give(comfyui, root(look, "ann"), "a.png", "b.png")

    def refused(*_args: object, **_more: object) -> None:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(os, "unlink", refused)
    ran = run("user", "remove", "ann")
    assert ran.code == 0 and "are deleted when the gateway can" in ran.err and "Permission denied" in ran.err
    assert look(lambda store: store.users.by_name("ann")) is None
    assert len(look(lambda store: store.removed_users.all())) == 1


@pytest.mark.parametrize(("answer", "removed"), [(b"n\n", False), (b"y\n", True)])
async def test_on_a_terminal_it_asks(tmp_path: Path, comfyui: Path, answer: bytes, removed: bool) -> None:
    """On a terminal `user remove` says how much goes and asks first; no leaves everything."""

    async def command(*words: str, stdin: int = subprocess.DEVNULL) -> asyncio.subprocess.Process:
        line = [sys.executable, "-m", "gateway", *words, "--data-dir", str(tmp_path / "data")]
        return await asyncio.create_subprocess_exec(
            *line, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
        )

    assert await (await command("user", "add", "ann")).wait() == 0
    async with await Store.open(f"sqlite:///{tmp_path / 'data' / 'gateway.db'}") as store:
        give(comfyui, (await store.roots.of(1)).path, "a.png", "b.png")
    ours, theirs = os.openpty()
    process = await command("user", "remove", "ann", stdin=theirs)
    os.close(theirs)
    assert process.stderr is not None
    asked = await asyncio.wait_for(process.stderr.readuntil(b"[y/N]:"), 30)
    assert asked.strip() == b"Remove ann and 2 files (0.0 MB)? [y/N]:"
    os.write(ours, answer)
    await asyncio.wait_for(process.communicate(), 30)
    os.close(ours)
    assert process.returncode == (0 if removed else 1)
    assert len(tree(comfyui / "output")) == (0 if removed else 2)
    async with await Store.open(f"sqlite:///{tmp_path / 'data' / 'gateway.db'}") as store:
        assert (await store.users.by_name("ann") is None) == removed
