"""Files by ComfyUI's names."""

import posixpath
import time

import pytest
from hypothesis import given

from gateway.comfy.files import FileRef, NotOurs, Root, annotated, from_view, is_confined, visible_json, without_roots
from gateway.errors import FileNotAllowed, InvalidRequest, NotFound
from tests.comfy.opening import KEY, NAMES, OTHER, read_path

ROOT = Root(KEY)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("a.png", "input", FileRef("input", "", "a.png")),
        ("a.png", "output", FileRef("output", "", "a.png")),
        ("clipspace/m.png [input]", "output", FileRef("input", "clipspace", "m.png")),
        ("a.png [temp]", "input", FileRef("temp", "", "a.png")),
        ("a.pngX[output]", "input", FileRef("output", "", "a.png")),
        ("a [b].png", "input", FileRef("input", "", "a [b].png")),
        ("a.png [Output]", "input", FileRef("input", "", "a.png [Output]")),
    ],
)
def test_annotated(text, default, expected):
    """A suffix beats the default, and takes one character before it away."""
    assert annotated(text, default=default) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/a",
        "/etc/passwd",
        "../a",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "..\\a",
        "a\x00",
        "a\nb",
        ".",
        "..",
        "a/.. /b",
        "a/.../b",
        "[output]",
        " [temp]",
        "a [output] [input]",
        "blake3:aa",
        "BLAKE3:aa",
        "a\u2028",
        "x" * 256,
        "é" * 128,
        "a/" * 600 + "b",
        "a\ud800",
    ],
)
def test_refused_names(text):
    """A name that is not canonical is refused: absolute, with dot parts, backslashes, control characters, too long."""
    with pytest.raises(FileNotAllowed):
        annotated(text)


@given(NAMES)
def test_annotated_opens_what_comfyui_opens(text):
    """What is read and written anew is the file that both versions would have opened for the text."""
    try:
        ref = annotated(text)
    except FileNotAllowed:
        return
    assert annotated(ref.text()) == ref
    for version in ("0.3.64", "0.28.1"):
        assert read_path(ref.text(), version=version) == read_path(text, version=version)
    assert annotated(ref.text("output"), default="output") == ref


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"filename": "a.png"}, FileRef("output", "", "a.png")),
        ({"filename": "a.png", "type": "input", "subfolder": "b/c"}, FileRef("input", "b/c", "a.png")),
        ({"filename": "a.png [temp]", "type": "input"}, FileRef("temp", "", "a.png")),
        ({"filename": "x/y/a.png", "subfolder": "b"}, FileRef("output", "b", "a.png")),
        ({"filename": "a.png", "subfolder": "b//./c/"}, FileRef("output", "b/c", "a.png")),
    ],
)
def test_from_view(query, expected):
    """The query of /view means what ComfyUI opens: a suffix beats the type, a directory in the name is dropped."""
    assert from_view(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        {"filename": "../a.png"},
        {"filename": "/etc/passwd"},
        {"filename": "a..b.png"},
        {"filename": "a/"},
        {"filename": "[output]"},
        {"filename": "blake3:" + "0" * 64},
        {"filename": "a.png", "type": "../"},
        {"filename": "a.png", "type": ""},
        {"filename": "a.png", "subfolder": "/srv/output/x"},
        {"filename": "a.png", "subfolder": "a/../b"},
        {"filename": "a.png", "subfolder": "a\\..\\b"},
    ],
)
def test_refused_views(query):
    """A query that could mean a file elsewhere is refused."""
    with pytest.raises(FileNotAllowed):
        from_view(query)


def test_view_without_a_name():
    """A query without a name is invalid, as it is to ComfyUI."""
    with pytest.raises(InvalidRequest):
        from_view({"type": "output"})


@given(NAMES, NAMES)
def test_view_opens_below_the_root(filename, subfolder):
    """Whatever the query says, the file that is asked for anew lies below the root, or the query is refused."""
    try:
        ref = ROOT.under(from_view({"filename": filename, "subfolder": subfolder}))
    except (FileNotAllowed, InvalidRequest):
        return
    opened = posixpath.normpath(posixpath.join("/srv", ref.subfolder, ref.filename))
    assert opened.startswith(f"/srv/users/{KEY}/")
    assert opened == f"/srv/{ref.path}"


def test_root():
    """A visible name goes below the root once, however often the root is already there; back it comes as it was."""
    seen = FileRef("output", "a", "b.png")
    held = FileRef("output", f"users/{KEY}/a", "b.png")
    assert ROOT.rooted(seen) == ROOT.rooted(held) == held
    assert ROOT.rooted(FileRef("input", f"users/{KEY}/users/{KEY}", "b.png")) == FileRef("input", ROOT.path, "b.png")
    assert ROOT.visible(held) == seen
    assert is_confined(held, ROOT) and not is_confined(seen, ROOT)
    assert not ROOT.owns(FileRef("output", f"users/{KEY}0", "b.png"))


def test_temp_files_keep_their_names():
    """A temp file is called the same on both sides, except where it lies below the root."""
    temp = FileRef("temp", "", "ComfyUI_temp_x.png")
    assert ROOT.rooted(temp) == ROOT.visible(temp) == temp
    assert ROOT.visible(ROOT.under(temp)) == temp


@pytest.mark.parametrize("subfolder", ["", "a", f"users/{OTHER}", f"users/{KEY.upper()}"])
def test_not_ours(subfolder):
    """What does not lie below the root looks like what does not exist."""
    with pytest.raises(NotOurs) as caught:
        ROOT.visible(FileRef("output", subfolder, "b.png"))
    assert caught.value.status == NotFound.status and caught.value.type == NotFound.type
    assert not any(text in str(caught.value.body("id")) for text in (OTHER, "b.png"))


@pytest.mark.parametrize("subfolder", [f"users/{OTHER}", f"Users/{OTHER.upper()}/a", f"users/{KEY}/users/{OTHER}"])
def test_names_another(subfolder):
    """A root other than one's own is seen in every case, also behind one's own."""
    assert ROOT.names_another(FileRef("input", subfolder, "b.png"))
    assert not ROOT.names_another(FileRef("input", f"users/{KEY}/a", "b.png"))
    assert not ROOT.names_another(FileRef("input", "users/alice", "b.png"))


@pytest.mark.parametrize("key", ["", "a" * 31, "A" * 32, "../" + "a" * 29, "a" * 32 + "\n"])
def test_keys(key):
    """A key in another form makes no root."""
    with pytest.raises(ValueError, match="key"):
        Root(key)


def test_visible_json():
    """Outputs name files without the root: in file objects, texts, keys, and with a Windows server's backslashes."""
    outputs = {
        "9": {"images": [{"filename": "a.png", "subfolder": f"users/{KEY}/b", "type": "output"}], "animated": [True]},
        "10": {"images": [{"filename": "a.png", "subfolder": f"users\\{KEY}\\b\\c", "type": "output"}]},
        "11": {
            "result": [f"users/{KEY}/3d/x.glb [input]", None],
            "images": [{"filename": "t", "subfolder": "", "type": "temp"}],
        },
        f"users/{KEY}/x": 1.5,
    }
    assert visible_json(outputs, ROOT) == {
        "9": {"images": [{"filename": "a.png", "subfolder": "b", "type": "output"}], "animated": [True]},
        "10": {"images": [{"filename": "a.png", "subfolder": "b/c", "type": "output"}]},
        "11": {"result": ["3d/x.glb [input]", None], "images": [{"filename": "t", "subfolder": "", "type": "temp"}]},
        "x": 1.5,
    }
    assert visible_json({"filename": "a", "subfolder": ROOT.path, "type": "output"}, ROOT)["subfolder"] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"No such file: '/srv/input/users/{KEY}/a b.png'", "No such file: '/srv/input/a b.png'"),
        (f"users/{KEY}/users/{KEY}/a.png", "a.png"),
        (f"'users/{OTHER}/bob secret.png' not in ['users/{KEY}/x', 'y']", "'(another file)' not in ['x', 'y']"),
        (f"USERS\\\\{OTHER.upper()}\\\\bob.png, z", "(another file), z"),
        (f"users/{OTHER}", "(another file)"),
        ("users/alice/a.png users", "users/alice/a.png users"),
        (f"users/{'a' * 40}", f"users/{'a' * 40}"),
    ],
)
def test_without_roots(text, expected):
    """Texts lose the own root, and another's together with what it holds."""
    assert without_roots(text, ROOT) == expected


def test_without_roots_is_linear():
    """A text full of roots is cleaned in one pass."""
    started = time.process_time()
    assert "users/" not in without_roots(f"users/{KEY}/a users/{OTHER}/b\n" * 20_000, ROOT)
    assert time.process_time() - started < 20
