"""File names in the strings of packs."""

import pytest

from gateway.comfy.files import Root
from gateway.comfy.loose_names import rooted_names, visible_names
from gateway.errors import FileNotAllowed
from tests.comfy.opening import KEY, OTHER

ROOT = Root(KEY)


def rooted(value, **more):
    return rooted_names(value, ROOT, placed=ROOT.under, **more)


@pytest.mark.parametrize(
    "text",
    [
        "a cat, best quality / masterpiece",
        "1.5",
        "wait.. what?",
        "and/or",
        "Describe it.\n/no_think",
        "/no_think\nDescribe it.",
        "https://example.org/a/b.png",
        "sub/name.png",
        f"users/{KEY}/a.png",
        "C: sharp",
        "ratio 16:9",
    ],
)
def test_plain_texts(text):
    """Prompts, numbers, addresses, relative names and the own root stay as they are."""
    assert rooted(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "/etc/passwd",
        " /x",
        "\\\\host\\share",
        "C:\\x",
        "c:/x",
        "~/x",
        "~bob/x",
        "file:///x",
        "FILE:x",
        "..",
        "../x",
        "a/..",
        "a\\..\\b",
        "x\n/etc/passwd\n",
        "x\nC:\\a",
        f"users/{OTHER}",
        f"in USERS\\{OTHER}\\a",
        "--in=../x",
        "a\nb: ../",
        f"users//{OTHER}/a",
        "../x [input]",
        f"users/{KEY}/../x",
        "\uff55sers/" + OTHER,
    ],
)
def test_refused(text):
    """Absolute paths, ways up and another's root are refused, in any spelling and line."""
    for value in (text, [1, {"a": text}], {"__value__": text}, {text: 1}, [text, 0]):
        with pytest.raises(FileNotAllowed):
            rooted(value)
    assert rooted(text, strict=False) == text


def test_annotated():
    """An annotated name goes below the root, anywhere in a value, and comes back as it was."""
    value = {"a": ["x.png [output]", 5, None, ["4", 0]]}
    sent = {"a": [f"users/{KEY}/x.png [output]", 5, None, ["4", 0]]}
    assert rooted(value) == sent
    assert visible_names(sent, ROOT) == value
    assert rooted(["4", 0]) == ["4", 0]
