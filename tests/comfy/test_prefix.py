"""Where a node is told to write."""

import ntpath
import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.files import Root
from gateway.comfy.prefix import Place, canonical, rooted
from tests.comfy.opening import BASES, KEY, NAMES, OTHER, saved_path, windows_saved_path

ROOT = Root(KEY)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ComfyUI", "ComfyUI"),
        ("a/b/name", "a/b/name"),
        ("", "ComfyUI"),
        (".", "ComfyUI"),
        ("dir/", "dir"),
        ("/abs/x", "abs/x"),
        ("//x", "x"),
        ("../x", "x"),
        ("a/../../x", "x"),
        ("a/./b//c", "a/b/c"),
        ("..\\..\\x", "x"),
        ("a\\b", "a/b"),
        ("a\x00b\n", "ab"),
        (".. /x", "x"),
        ("%year%-%month%/%date:yyyy-MM-dd%", "%year%-%month%/%date:yyyy-MM-dd%"),
        ("%year%/../..", "ComfyUI"),
        (f"users/{KEY}/a", "a"),
        (f"users/{OTHER}/a", "a"),
        (f"users/{OTHER}/users/{KEY}/a", "a"),
        (f"USERS/{OTHER.upper()}/a", "a"),
        (f"users/{KEY}", "ComfyUI"),
        (f"a/users/{OTHER}/b", "a/b"),
        (f"a/users/users/{OTHER}/{KEY}/b", "a/b"),
        ("users/bob/a", "users/bob/a"),
        ("a /b.", "a /b."),
        ("a/c:", "a/c_"),
        ("c:x/y:z", "c:x/y_z"),
    ],
)
def test_canonical(text, expected):
    """A prefix is cleaned, not refused; every root in it is taken out, whoever's it is."""
    assert canonical(text, Place.PREFIX) == expected
    assert rooted(text, Place.PREFIX, ROOT) == f"users/{KEY}/{expected}"


@given(NAMES, st.sampled_from(Place))
def test_written_below_the_root(text, place):
    """For any text the file lies below the root, on Linux and on Windows, or is a plain name."""
    value = rooted(text, place, ROOT)
    if place is Place.NAME:
        assert posixpath.basename(value) == value == value.replace("\\", "/") and value not in ("", ".", "..")
        assert ntpath.splitdrive(value)[0] == ""
        return
    whole = f"{value}/x" if place is Place.FOLDER else value
    assert str(saved_path(whole)).startswith(f"/srv/output/users/{KEY}/")
    assert windows_saved_path(whole).startswith(f"C:\\srv\\users\\{KEY}\\")


@given(NAMES, st.sampled_from(Place))
def test_laws(text, place):
    """Cleaning and rooting twice is doing it once, and what is read back is the cleaned text."""
    assert canonical(rooted(text, place, ROOT), place) == canonical(text, place)
    assert rooted(rooted(text, place, ROOT), place, ROOT) == rooted(text, place, ROOT)


@given(st.lists(st.sampled_from(["a", "b", "..", ".", "", "%year%", "x.y"]), max_size=6).map("/".join))
def test_same_name_as_comfyui(text):
    """Where ComfyUI would write below its output folder, the file has the same name below the root."""
    direct = saved_path(text)
    names_a_file = posixpath.normpath(text).strip("/") not in ("", ".")
    if direct is None or not names_a_file or posixpath.isabs(text) or ".." in posixpath.normpath(text):
        return
    mine = saved_path(rooted(text, Place.PREFIX, ROOT))
    assert mine == direct.replace(BASES["output"], f"{BASES['output']}/users/{KEY}")
