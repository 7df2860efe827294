"""`comfy-gateway files`."""

from pathlib import Path

import pytest

from gateway.comfy.files import FileRef
from gateway.store import Store
from tests.cli.conftest import Look, Run


@pytest.fixture
def comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """ComfyUI's data directory, mounted."""
    made = tmp_path / "comfyui"
    for name in ("input", "output/old/deep", "temp"):
        (made / name).mkdir(parents=True)
    for name in ("output/old/a.png", "output/old/deep/b.png", "input/in.png"):
        (made / name).write_text("four")
    monkeypatch.setenv("GATEWAY_COMFYUI_FILES", str(made))
    return made


def root(look: Look, name: str) -> str:
    async def asked(store: Store) -> str:
        user = await store.users.by_name(name)
        assert user is not None
        return (await store.roots.of(user.id)).path

    return look(asked)


def tree(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}


def test_a_folder_is_given_to_a_user(run: Run, look: Look, comfyui: Path) -> None:
    """`files assign` moves a folder below the user's root, prints each name, and `files list` shows them."""
    run("user", "add", "ann")
    ran = run("files", "assign", "old", "ann")
    assert (ran.code, ran.out) == (0, "old/a.png\nold/deep/b.png\n")
    assert ran.err == "Gave 2 files to ann; 0 skipped. In all ann keeps 0.0 MB of 2,048.0 MB.\n"
    mine = root(look, "ann")
    assert tree(comfyui / "output") == {f"{mine}/old/a.png", f"{mine}/old/deep/b.png"}
    assert not (comfyui / "output" / "old").exists()
    ran = run("files", "list", "ann")
    heads, *lines = [line.split() for line in ran.out.splitlines()]
    assert heads == ["TYPE", "BYTES", "MODIFIED", "NAME"]
    assert {(line[0], line[1], line[-1]) for line in lines} == {
        ("output", "4", "old/a.png"),
        ("output", "4", "old/deep/b.png"),
    }


def test_inputs_are_recorded(run: Run, look: Look, comfyui: Path) -> None:
    """An input that is given is in the user's pickers: it is recorded like an upload."""
    run("user", "add", "ann")
    assert run("files", "assign", "in.png", "ann", "--type", "input").out == "in.png\n"
    assert [ref.path for ref in look(lambda store: store.files.uploads(1, "input"))] == ["in.png"]
    assert tree(comfyui / "input") == {f"{root(look, 'ann')}/in.png"}


def test_a_dry_run_moves_nothing(run: Run, look: Look, comfyui: Path) -> None:
    """`--dry-run` prints what would be moved, what would be skipped too, and changes nothing."""
    run("user", "add", "ann")
    taken = comfyui / "output" / root(look, "ann") / "old" / "a.png"
    taken.parent.mkdir(parents=True)
    taken.write_text("mine")
    before = tree(comfyui)
    ran = run("files", "assign", ".", "ann", "--dry-run")
    assert (ran.code, ran.out) == (0, "old/deep/b.png\n")
    assert ran.err == (
        "Skipped 'old/a.png': The user has something of that name.\nWould give 1 file to ann; 1 skipped.\n"
    )
    assert tree(comfyui) == before
    ran = run("files", "assign", ".", "ann")
    assert ran.out == "old/deep/b.png\n" and taken.read_text() == "mine"


def test_the_results_of_jobs_are_somebody_s(run: Run, look: Look, comfyui: Path) -> None:
    """A file outside the users' folders that is recorded for somebody is not given away."""
    run("user", "add", "ann")
    run("user", "add", "bob")
    recorded = FileRef("output", "old", "a.png")
    look(lambda store: store.files.record("http://c:1", "boot", recorded, user_id=2, prompt_id="p"))
    ran = run("files", "assign", ".", "ann")
    assert ran.out == "old/deep/b.png\n" and "Skipped 'old/a.png': It is the result of somebody's job." in ran.err
    assert (comfyui / "output" / "old" / "a.png").exists()


@pytest.mark.parametrize("place", ["..", "../input", "/etc", "users", "absent"])
def test_what_cannot_be_given(run: Run, comfyui: Path, place: str) -> None:
    """Paths out of the folder, users' files and nothing are one clear line and exit code 1."""
    run("user", "add", "ann")
    before = tree(comfyui)
    ran = run("files", "assign", place, "ann")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1) and f"“{place}”" in ran.err
    assert tree(comfyui) == before
    assert run("files", "assign", "old", "nobody").err == "comfy-gateway: There is no user “nobody”.\n"


def test_a_type_is_output_or_input(run: Run, comfyui: Path) -> None:
    """Another type is wrong usage."""
    run("user", "add", "ann")
    assert run("files", "assign", "old", "ann", "--type", "temp").code == 2


def test_without_the_directory(run: Run) -> None:
    """Where the directory is not mounted `assign` is one clear line and exit code 1, and `list` asks the database."""
    run("user", "add", "ann")
    ran = run("files", "assign", "old", "ann")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1) and "comfyui_files" in ran.err
    assert run("files", "list", "ann").out == "TYPE  BYTES  MODIFIED  NAME\n"


def test_a_directory_that_is_none_is_a_setting_s_problem(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A data directory without ComfyUI's folders is refused with the setting's name and place."""
    monkeypatch.setenv("GATEWAY_COMFYUI_FILES", str(tmp_path))
    ran = run("user", "list")
    assert ran.code == 1 and ran.err.startswith("comfy-gateway: comfyui_files (environment GATEWAY_COMFYUI_FILES): ")
    assert "holds no input and no output" in ran.err
