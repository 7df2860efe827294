"""`comfy-gateway userdata`."""

import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.comfy.user_data import UserFile
from gateway.store import Store
from tests.cli.conftest import Look, Run


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """A user folder of ComfyUI's, and a user ann to bring it to."""
    run("user", "add", "ann")
    made = tmp_path / "user" / "default"
    (made / "workflows" / "sub").mkdir(parents=True)
    (made / "workflows" / "a.json").write_text("{}")
    (made / "workflows" / "sub" / "b.json").write_text("[1]")
    (made / "comfy.settings.json").write_text('{\n    "Comfy.A": 1,\n    "Comfy.B": 2\n}')
    os.utime(made / "workflows" / "a.json", (1.0, 1234.5))
    return made


def all_files(store: Store) -> Awaitable[tuple[UserFile, ...]]:
    return store.user_files.below(1, "")


def content(path: str) -> Callable[[Store], Awaitable[bytes | None]]:
    async def asked(store: Store) -> bytes | None:
        found = await store.user_files.read(1, path)
        return found[1] if found else None

    return asked


def test_a_folder_is_brought_in(run: Run, look: Look, folder: Path) -> None:
    """Files come with their folders and times, the settings with them; what was done is said on standard error."""
    ran = run("userdata", "import", "ann", str(folder))
    assert (ran.code, ran.out) == (0, "")
    assert ran.err.startswith("Brought in 3 files for ann; 0 unchanged, 0 skipped. In all 3 files, ")
    files = {file.path: file for file in look(all_files)}
    assert list(files) == ["comfy.settings.json", "workflows/a.json", "workflows/sub/b.json"]
    assert (files["workflows/a.json"].modified, files["workflows/a.json"].created) == (1234.5, 1234.5)
    assert json.loads(look(content("comfy.settings.json")) or b"") == {"Comfy.A": 1, "Comfy.B": 2}
    assert look(content("workflows/sub/b.json")) == b"[1]"


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_bringing_it_in_again_changes_nothing(run: Run, look: Look, folder: Path, more: tuple[str, ...]) -> None:
    """The command is idempotent, with and without --overwrite."""
    run("userdata", "import", "ann", str(folder))
    before = look(all_files)
    ran = run("userdata", "import", "ann", str(folder), *more)
    assert ran.err.startswith("Brought in 0 files for ann; 3 unchanged, 0 skipped.")
    assert look(all_files) == before


def test_what_the_user_has_stays(run: Run, look: Look, folder: Path) -> None:
    """Other files of the same name and settings that are set stay, unless --overwrite is given; missing ones come."""
    run("userdata", "import", "ann", str(folder))
    (folder / "workflows" / "a.json").write_text('{"new": 1}')
    (folder / "comfy.settings.json").write_text('{"Comfy.C": 3, "Comfy.A": 0}')
    ran = run("userdata", "import", "ann", str(folder))
    assert ran.err.splitlines()[0] == (
        "Skipped 'workflows/a.json': The user has another file of that name; --overwrite replaces it."
    )
    assert look(content("workflows/a.json")) == b"{}"
    assert json.loads(look(content("comfy.settings.json")) or b"") == {"Comfy.A": 1, "Comfy.B": 2, "Comfy.C": 3}
    assert run("userdata", "import", "ann", str(folder), "--overwrite").err.startswith("Brought in 2 files")
    assert look(content("workflows/a.json")) == b'{"new": 1}'
    assert json.loads(look(content("comfy.settings.json")) or b"") == {"Comfy.A": 0, "Comfy.B": 2, "Comfy.C": 3}


def test_what_cannot_come_is_said(run: Run, look: Look, folder: Path) -> None:
    """Files too large, of odd names, links, and the server's own are skipped, each with the reason; the rest comes."""
    (folder / "large.bin").write_bytes(b"x" * (8 * 1024 * 1024 + 1))
    (folder / "odd\\name").write_text("x")
    (folder / os.fsdecode(b"not-utf8-\xff")).write_text("x")
    (folder / "ComfyUI-Manager").mkdir()
    (folder / "ComfyUI-Manager" / "config.ini").write_text("security_level = weak")
    (folder / "outside").symlink_to("/etc")
    (folder / "passwd").symlink_to("/etc/passwd")
    (folder / "gone").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    (folder / "comfy.settings.json").write_text("nonsense")
    ran = run("userdata", "import", "ann", str(folder))
    skipped = [line.removeprefix("Skipped '").partition("'")[0] for line in ran.err.splitlines()[:-1]]
    names = ["ComfyUI-Manager", "comfy.settings.json", "gone", "large.bin", "not-utf8-\\udcff", "odd\\\\name"]
    assert (ran.code, skipped) == (0, [*names, "outside", "passwd", "pipe"])
    assert "larger than 8388608 bytes" in ran.err and "It belongs to the server" in ran.err
    assert "Brought in 2 files for ann; 0 unchanged, 9 skipped." in ran.err
    assert [file.path for file in look(all_files)] == ["workflows/a.json", "workflows/sub/b.json"]


def test_the_quota_of_the_role_holds(run: Run, look: Look, folder: Path, tmp_path: Path) -> None:
    """What would be more than the user may keep is skipped, and smaller files after it still come."""
    (tmp_path / "gateway.toml").write_text("[roles.member]\nuser_data_mb = 1\n")
    (folder / "a.bin").write_bytes(b"x" * 1024 * 1024)
    (folder / "b.bin").write_bytes(b"x" * 1024)
    ran = run("userdata", "import", "ann", str(folder))
    assert [line for line in ran.err.splitlines() if "would take more than 1048576 bytes" in line]
    assert "a.bin" in [file.path for file in look(all_files)] and ran.code == 0
    assert "b.bin" not in [file.path for file in look(all_files)]


def test_a_name_cannot_be_file_and_folder(run: Run, look: Look, folder: Path) -> None:
    """A file that would have the name of a folder of the user's is skipped."""
    run("userdata", "import", "ann", str(folder))
    other = folder.parent / "other"
    (other / "workflows").mkdir(parents=True)
    (other / "workflows" / "sub").write_text("a file")
    ran = run("userdata", "import", "ann", str(other))
    assert ran.err.startswith("Skipped 'workflows/sub': A file cannot have the name of a folder.\n")


@pytest.mark.parametrize(
    ("user", "directory", "words"),
    [
        ("bob", "user/default", "There is no user “bob”."),
        ("ann", "user/none", "user/none is not a directory."),
        ("ann", "user", "user holds the folders of several users"),
        ("ann", "user/default/workflows/a.json", "is not a directory."),
    ],
)
def test_what_cannot_be_brought_in_at_all(
    run: Run, look: Look, folder: Path, user: str, directory: str, words: str
) -> None:
    """A user or folder that is not there, or the folder of all users, is one clear line and exit code 1."""
    ran = run("userdata", "import", user, directory)
    assert (ran.code, ran.out) == (1, "") and words in ran.err and len(ran.err.splitlines()) == 1
    assert look(all_files) == ()


def test_a_role_without_settings_is_said(run: Run, folder: Path, tmp_path: Path) -> None:
    """A user whose role the settings no longer have keeps nothing new."""
    (tmp_path / "gateway.toml").write_text('[roles.guest]\npermissions = ["read"]\n')
    run("user", "add", "gil", "--role", "guest")
    (tmp_path / "gateway.toml").unlink()
    ran = run("userdata", "import", "gil", str(folder))
    assert (ran.code, ran.err) == (1, "comfy-gateway: The settings have no role “guest”, which gil has.\n")
