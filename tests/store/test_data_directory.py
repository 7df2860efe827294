"""The users' files in ComfyUI's data directory."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.comfy.files import FileRef, Root
from gateway.errors import FileNotAllowed
from gateway.store.data_directory import DataDirectory, KeptFile, newest_first
from tests.store.things import directory, output, put, upload

ANN, BOB = Root("a" * 32), Root("b" * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return directory(tmp_path / "comfyui")


@pytest.fixture
def data(path: Path) -> DataDirectory:
    return DataDirectory(path)


def refs(files: list[KeptFile]) -> list[str]:
    return [kept.ref.text() for kept in files]


def test_a_user_s_files_are_those_below_the_root(path: Path, data: DataDirectory) -> None:
    """All of the user's, of every type and folder, by visible name; nobody else's, and none of nobody's."""
    put(path, ANN, output("new.png"), "four", modified=30)
    put(path, ANN, output("deep.png", "a/b"), modified=20)
    put(path, ANN, upload("in.png"), modified=10)
    put(path, ANN, FileRef("temp", "clipspace", "m.png"), modified=5)
    put(path, BOB, output("bobs.png"))
    (path / "output" / "nobodys.png").write_text("x")
    found = newest_first(data.files(ANN))
    assert refs(found) == ["new.png [output]", "a/b/deep.png [output]", "in.png", "clipspace/m.png [temp]"]
    assert (found[0].size, found[0].modified) == (4, 30.0)
    assert refs(data.files(ANN, ["input"])) == ["in.png"]
    assert refs(data.files_on_top(ANN, "output")) == ["new.png [output]"]
    assert (data.size(ANN), data.size(BOB)) == (7, 1)
    assert data.exists(ANN) and not data.exists(Root("c" * 32))
    assert data.files(Root("c" * 32)) == []


def test_what_cannot_be_named_is_counted_and_not_listed(path: Path, data: DataDirectory) -> None:
    """A name that no request can write takes room like any other, and goes with the user."""
    top = put(path, ANN, output("a.png")).parent
    for name in ("b [output]", "c\n", "blake3:x", "d\\e"):
        (top / name).write_text("x")
    (top / "bytes\udcff").write_text("x")
    (top / "users" / ANN.key).mkdir(parents=True)
    (top / "users" / ANN.key / "twice.png").write_text("x")
    (top / "link.png").symlink_to("a.png")
    assert refs(data.files(ANN)) == ["a.png [output]"]
    assert data.size(ANN) == 7
    assert data.remove_all(ANN) == 7
    assert not data.exists(ANN)


def test_a_file_is_deleted_by_its_visible_name(path: Path, data: DataDirectory) -> None:
    """Only the named one goes; with the root before its name it is the same file."""
    kept = put(path, ANN, output("b.png"))
    put(path, ANN, output("a.png", "x"))
    assert data.remove(ANN, output("a.png", "x"))
    assert not data.remove(ANN, output("a.png", "x"))
    assert kept.exists()
    assert data.remove(ANN, FileRef("output", ANN.path, "b.png"))


def test_another_s_file_cannot_be_named(path: Path, data: DataDirectory) -> None:
    """Whatever the name, another's file and nobody's stay."""
    theirs = put(path, BOB, output("b.png"))
    nobodys = path / "output" / "n.png"
    nobodys.write_text("x")
    for ref in (output("b.png"), output("b.png", BOB.path), output("n.png"), output(BOB.key), upload("b.png")):
        assert not data.remove(ANN, ref)
    assert theirs.exists() and nobodys.exists()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(
    st.sampled_from(["input", "output", "temp"]),
    st.lists(st.sampled_from(["", ".", "..", "users", BOB.key, ANN.key, "x", "a\\b", "/", "~"]) | st.text(max_size=3)),
    st.text(max_size=4) | st.sampled_from(["b.png", "..", "../b.png", "n.png"]),
)
def test_no_name_reaches_another_s_file(
    path: Path, data: DataDirectory, type_: str, segments: list[str], filename: str
) -> None:
    """For any three texts either the name is refused, or nothing of another's is deleted by it."""
    theirs = put(path, BOB, output("b.png"))
    (path / "output" / "n.png").write_text("x")
    try:
        ref = FileRef.read(type_, "/".join(segments), filename)
    except FileNotAllowed:
        return
    assert not data.remove(ANN, ref)
    assert theirs.exists() and (path / "output" / "n.png").exists()


def test_a_user_s_own_folder_that_is_a_link_is_nothing(path: Path, data: DataDirectory) -> None:
    """If somebody made the root a link to another's, nothing is seen and nothing deleted through it."""
    theirs = put(path, BOB, output("b.png"))
    (path / "output" / ANN.path).symlink_to(BOB.key)
    assert data.files(ANN) == [] and data.size(ANN) == 0
    assert not data.remove(ANN, output("b.png")) and data.remove_all(ANN) == 0
    assert theirs.exists()


def test_an_operator_s_links_are_followed(path: Path, tmp_path: Path) -> None:
    """`output` may be a link to a larger disk; that is decided when the gateway starts."""
    (tmp_path / "disk").mkdir()
    (path / "output").rmdir()
    (path / "output").symlink_to(tmp_path / "disk")
    data = DataDirectory(path)
    put(path, ANN, output("a.png"))
    assert refs(data.files(ANN)) == ["a.png [output]"]


def test_temp_need_not_be_there(path: Path, data: DataDirectory) -> None:
    """ComfyUI deletes and makes its temp folder at every start."""
    (path / "temp").rmdir()
    put(path, ANN, output("a.png"))
    assert refs(data.files(ANN)) == ["a.png [output]"] and data.size(ANN) == 1 and data.remove_all(ANN) == 1
