"""Files that belong to nobody."""

from pathlib import Path

import pytest

from gateway.comfy.files import Root
from gateway.errors import FileNotAllowed, InvalidRequest, NotFound
from gateway.store.data_directory import DataDirectory
from gateway.store.unowned import Unowned, reason_of
from tests.store.things import directory, output, put

ANN = Root("a" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = directory(tmp_path / "comfyui")
    for name in ("top.png", "old/a.png", "old/deep/b.png"):
        file = made / "output" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return made


@pytest.fixture
def unowned(path: Path) -> Unowned:
    return Unowned(DataDirectory(path), "output")


def names(unowned: Unowned, place: str) -> list[str]:
    found, _ = unowned.find(place)
    return sorted("/".join((*file.folder, file.name)) for file in found)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (".", ["old/a.png", "old/deep/b.png", "top.png"]),
        ("old", ["old/a.png", "old/deep/b.png"]),
        ("./old//deep/", ["old/deep/b.png"]),
        ("top.png", ["top.png"]),
        ("old/a.png", ["old/a.png"]),
    ],
)
def test_a_file_or_a_folder_is_found(path: Path, unowned: Unowned, place: str, found: list[str]) -> None:
    """A folder means all that is in it and below, "." everything but the users' files."""
    put(path, ANN, output("theirs.png"))
    assert names(unowned, place) == found


@pytest.mark.parametrize("place", ["", "/", "/etc", "..", "old/../..", "old/..", "a\0b"])
def test_a_path_out_of_the_folder_is_refused(unowned: Unowned, place: str) -> None:
    """`..`, absolute paths and nothing are no path below the folder."""
    with pytest.raises(InvalidRequest, match="must be a path"):
        unowned.find(place)


@pytest.mark.parametrize("place", ["users", f"users/{ANN.key}", "USERS/x", "./users", "\uff55sers"])
def test_users_files_are_not_given_away(path: Path, unowned: Unowned, place: str) -> None:
    """Below `users`, in every spelling that some file system takes for it, files have owners."""
    put(path, ANN, output("theirs.png"))
    with pytest.raises(InvalidRequest, match="belongs to users"):
        unowned.find(place)


def test_links_are_not_followed(path: Path, unowned: Unowned) -> None:
    """A link is no place to take files from, and one among files is told and left."""
    (path / "secret").mkdir()
    (path / "secret" / "s").write_text("s")
    (path / "output" / "link").symlink_to(path / "secret")
    (path / "output" / "old" / "file").symlink_to(path / "secret" / "s")
    for place in ("link", "link/s", "old/file"):
        with pytest.raises(NotFound):
            unowned.find(place)
    found, skipped = unowned.find("old")
    assert len(found) == 2 and [one.path for one in skipped] == ["old/file"]


def test_a_file_keeps_its_name_and_folder(path: Path, unowned: Unowned) -> None:
    """A file is the user's under the very name that it had, and its empty folders go."""
    found, _ = unowned.find("old")
    given = {unowned.give(file, ANN).text() for file in found}
    assert given == {"old/a.png [output]", "old/deep/b.png [output]"}
    assert (path / "output" / ANN.path / "old" / "deep" / "b.png").read_text() == "old/deep/b.png"
    unowned.tidy("old")
    assert not (path / "output" / "old").exists() and (path / "output" / "top.png").exists()
    unowned.tidy("old")


def test_nothing_is_written_over(path: Path, unowned: Unowned) -> None:
    """A name that the user has is left where it is; so is a name that no request can write."""
    theirs = put(path, ANN, output("top.png"), "theirs")
    (path / "output" / "x [input]").write_text("x")
    (file,), _ = unowned.find("top.png")
    assert unowned.is_taken(file, ANN)
    with pytest.raises(FileExistsError) as taken:
        unowned.give(file, ANN)
    assert reason_of(taken.value, "top.png").reason == "The user has something of that name."
    assert theirs.read_text() == "theirs" and (path / "output" / "top.png").exists()
    (odd,), _ = unowned.find("x [input]")
    with pytest.raises(FileNotAllowed):
        unowned.give(odd, ANN)
    assert (path / "output" / "x [input]").exists()


def test_a_file_where_a_folder_is_needed(path: Path, unowned: Unowned) -> None:
    """A file of the user's with the name of a folder is in the way, and stays."""
    put(path, ANN, output("old"))
    found, _ = unowned.find("old/a.png")
    with pytest.raises(FileExistsError):
        unowned.give(found[0], ANN)


def test_a_root_that_is_a_link_takes_nothing(path: Path, unowned: Unowned) -> None:
    """Where somebody made the user's root a link, nothing is moved out through it."""
    (path / "elsewhere").mkdir()
    (path / "output" / "users").mkdir()
    (path / "output" / ANN.path).symlink_to(path / "elsewhere")
    (file,), _ = unowned.find("top.png")
    with pytest.raises(OSError):
        unowned.give(file, ANN)
    assert not any((path / "elsewhere").iterdir()) and (path / "output" / "top.png").exists()
