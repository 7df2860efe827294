"""Folders opened name by name."""

import errno
import os
import threading
from pathlib import Path

import psutil
import pytest

from gateway.store import folders

LIMIT = 40
"""File descriptors more than are open; deep trees must not need as many as they are deep."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A folder, and beside it a secret that no call may reach."""
    made = tmp_path / "top"
    made.mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_text("secret")
    return made


def open_files() -> int:
    return psutil.Process().num_fds()


def put(top: Path, *names: str, content: str = "x") -> Path:
    path = top.joinpath(*names)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_what_is_there_is_told_apart(top: Path) -> None:
    """Files with sizes and times, folders, and what is neither."""
    put(top, "a", content="four")
    (top / "b").mkdir()
    (top / "link").symlink_to(top / "a")
    os.mkfifo(top / "pipe")
    os.utime(top / "a", (5, 5))
    inside = folders.entries(top, ())
    assert [(file.name, file.size, file.modified) for file in inside.files] == [("a", 4, 5.0)]
    assert inside.files[0].changed == (top / "a").stat().st_ctime > 5
    assert (inside.folders, sorted(inside.others)) == (("b",), ["link", "pipe"])
    assert folders.entries(top, ("nothing",)) == folders.Entries((), (), ())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc", "../outside", "a\0"])
def test_a_name_is_one_name(top: Path, name: str) -> None:
    """A name with a slash or of dots is a mistake of the caller's, wherever it stands."""
    put(top, "a", "x")
    for call in (
        lambda: folders.entries(top, (name,)),
        lambda: folders.look(top, (), name),
        lambda: folders.unlink(top, (), name),
        lambda: folders.make(top, (name,)),
        lambda: folders.move(top, (), name, ("a",)),
        lambda: folders.remove_below(top, ("a", name)),
    ):
        with pytest.raises(ValueError, match="not one name"):
            call()


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_links_lead_nowhere(top: Path, target: str) -> None:
    """A link in the way is as good as nothing, for every call, and what it leads to stays."""
    outside = top.parent / "outside"
    (top / "link").symlink_to(outside if target == "absolute" else "../outside")
    (top / "file").symlink_to(outside / "secret")
    put(top, "a", "x")
    assert folders.entries(top, ("link",)) == folders.Entries((), (), ())
    assert folders.look(top, ("link",), "secret") is None and folders.look(top, (), "file") is None
    assert not folders.unlink(top, ("link",), "secret") and not folders.unlink(top, (), "file")
    assert folders.remove_below(top, ("link",)) == 0
    for call in (
        lambda: folders.move(top, ("link",), "secret", ("a",)),
        lambda: folders.move(top, ("a",), "x", ("link",)),
        lambda: folders.make(top, ("link", "new")),
    ):
        with pytest.raises(OSError):
            call()
    folders.remove_empty(top, ("link",))
    assert (outside / "secret").read_text() == "secret" and [path.name for path in outside.iterdir()] == ["secret"]
    assert (top / "a" / "x").exists()


def test_a_folder_goes_with_links_as_what_they_are(top: Path) -> None:
    """Everything in a folder goes; of a link the link, not what it leads to."""
    outside = top.parent / "outside"
    put(top, "a", "b", "c")
    put(top, "a", "d")
    put(top, "keep")
    (top / "a" / "folder").symlink_to(outside)
    (top / "a" / "b" / "file").symlink_to(outside / "secret")
    assert folders.remove_below(top, ("a",)) == 2
    assert [path.name for path in top.iterdir()] == ["keep"]
    assert (outside / "secret").exists()
    assert folders.remove_below(top, ("a",)) == 0


def test_a_link_swapped_in_meanwhile_leads_nowhere(top: Path) -> None:
    """Somebody who changes a folder into a link and back, all the time, gets nothing outside deleted."""
    outside, real, stop = top.parent / "outside", top / "real", threading.Event()
    (top / "a").mkdir()

    def swap() -> None:
        (top / "other").symlink_to(outside)
        while not stop.is_set():
            for one, two in (("a", "real"), ("other", "a"), ("a", "other"), ("real", "a")):
                (top / one).rename(top / two)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        for number in range(2000):
            if number % 50 == 0 and (top / "a").is_dir() and not (top / "a").is_symlink():
                folders.entries(top, ("a",))
            folders.unlink(top, ("a",), "secret")
            folders.look(top, ("a",), "secret")
            for _, inside in folders.below(top, ("a",)):
                assert [file.name for file in inside.files] == []
    finally:
        stop.set()
        thread.join()
    assert (outside / "secret").read_text() == "secret"
    assert not real.exists()


def test_files_may_vanish_meanwhile(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder that is gone when its turn comes is passed over."""
    for name in ("a", "b"):
        put(top, "f", name, "x")
    walk = folders.below(top, ())
    next(walk)
    folders.remove_below(top, ("f", "a"))
    assert [here for here, _ in walk] == [("f",), ("f", "b")]
    assert folders.unlink(top, ("f", "b"), "x") and not folders.unlink(top, ("f", "b"), "x")


def test_a_file_that_changed_stays(top: Path) -> None:
    """`unchanged_since` deletes only what nobody touched since then."""
    path = put(top, "a")
    changed = path.stat().st_ctime
    os.utime(path, (5, 5))
    assert not folders.unlink(top, (), "a", unchanged_since=changed)
    assert folders.unlink(top, (), "a", unchanged_since=changed + 100)


def test_deep_trees_take_few_descriptors(top: Path) -> None:
    """A tree is walked and deleted whatever its depth, with a handful of descriptors."""
    deep = ("d",) * 500
    folders.make(top, deep)
    before = open_files()
    most = 0
    for _ in folders.below(top, ()):
        most = max(most, open_files() - before)
    assert most < LIMIT
    folders.remove_below(top, ("d",))
    assert list(top.iterdir()) == []
    assert open_files() <= before


def test_folders_are_made_like_the_top(top: Path) -> None:
    """New folders are open to the same people as the top; those that are there stay as they are."""
    top.chmod(0o2775)
    (top / "a").mkdir(mode=0o700)
    folders.make(top, ("a", "b", "c"))
    folders.make(top, ("a", "b", "c"))
    modes = [oct(path.stat().st_mode & 0o7777) for path in (top / "a", top / "a" / "b", top / "a" / "b" / "c")]
    assert modes == ["0o2700", "0o2775", "0o2775"]
    put(top, "file")
    with pytest.raises(FileExistsError):
        folders.make(top, ("file", "x"))


@pytest.mark.parametrize("links", [True, False])
def test_moving_never_writes_over(top: Path, links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A move takes the name only if it is free, with hard links and on file systems that have none."""
    if not links:

        def no_links(*_names: str, **_options: object) -> None:
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", no_links)
    put(top, "a", "x", content="new")
    put(top, "b", "x", content="old")
    with pytest.raises(FileExistsError):
        folders.move(top, ("a",), "x", ("b",))
    assert ((top / "a" / "x").read_text(), (top / "b" / "x").read_text()) == ("new", "old")
    put(top, "a", "y", content="mine")
    folders.move(top, ("a",), "y", ("b",))
    assert (top / "b" / "y").read_text() == "mine" and not (top / "a" / "y").exists()
    with pytest.raises(FileNotFoundError):
        folders.move(top, ("a",), "z", ("b",))
    assert not (top / "b" / "z").exists(), "no empty file stays behind"
