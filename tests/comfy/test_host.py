"""Texts without the paths of the host."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.host import without_host_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('  File "/opt/ComfyUI/execution.py", line 543, in execute\n', '  File "execution.py", line 543, in execute\n'),
        (
            "[Errno 2] No such file or directory: '/srv/me/My Pictures/a.png'",
            "[Errno 2] No such file or directory: 'a.png'",
        ),
        ("cannot open /srv/comfyui/input/a.png.", "cannot open a.png."),
        ("(/srv/comfyui/input/a.png)", "(a.png)"),
        ("path=/srv/comfyui/input/a.png", "path=a.png"),
        ("ERROR:/srv/x/b", "ERROR:b"),
        ("/home/bob/.cache/", ".cache"),
        ("file:///srv/comfyui/a.png", "a.png"),
        ("'file:///srv/my files/a.png'", "'a.png'"),
        ("C:\\Users\\bob\\ComfyUI\\execution.py", "execution.py"),
        ("C:/Users/bob/ComfyUI/execution.py", "execution.py"),
        ('File "C:\\Program Files\\ComfyUI\\x.py", line 1', 'File "x.py", line 1'),
        ("D:\\models", "models"),
        ("\\\\nas\\share\\bob\\a.png", "a.png"),
        ("Path /a/b and /c/d/e", "Path b and e"),
    ],
)
def test_paths_become_base_names(text: str, shown: str) -> None:
    """I33: absolute paths, POSIX and Windows, quoted or not, keep only their base name."""
    assert without_host_paths(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "Value -5 smaller than min of 1",
        "image - Invalid image file: missing.png",
        "rec/out_00001_.png",
        "image/png",
        "and/or, 1/2, 12/24/2026",
        "https://example.com/a/b?c=/d",
        "see http://host:8188/view/x",
        "data:image/png;base64,iVBORw0KGgo/AAA/BBB==",
        "/prompt",
        "a / b",
        "//",
        "\\n \\u0041 \\",
        "5: x",
        "tensor([[0.0000, 0.0235]])",
    ],
)
def test_other_texts_stay(text: str) -> None:
    """What is no absolute path of a host is left as it is: relative names, addresses, fractions, types."""
    assert without_host_paths(text) == text


def test_recorded_errors(exchanges: dict[str, dict[str, Any]]) -> None:
    """I33: in the recorded history of a failed job no path of the host is left, and nothing else is lost."""
    item = next(iter(exchanges["history.error"]["body"]["json"].values()))
    before, after = json.dumps(item), without_host_paths(item)
    assert "/opt/ComfyUI" in before
    assert "/opt" not in json.dumps(after)
    data = dict(after["status"]["messages"])["execution_error"]
    assert 'File "execution.py", line' in data["traceback"][0]
    assert (data["exception_message"], data["exception_type"]) == ("boom\n", "RuntimeError")
    assert data["current_inputs"] == dict(item["status"]["messages"])["execution_error"]["current_inputs"]
    assert after["prompt"] == item["prompt"]


def test_recorded_refusals_stay(exchanges: dict[str, dict[str, Any]]) -> None:
    """ComfyUI's recorded 400 answers name no path, and come through unchanged."""
    for name, line in exchanges.items():
        if name.startswith("prompt.error.") and "json" in line["body"]:
            assert without_host_paths(line["body"]["json"]) == line["body"]["json"]


def test_every_place_of_a_value() -> None:
    """Strings are cleaned wherever they are, keys included; other values stay."""
    value = {"/srv/a/b": ["/srv/a/c", 5, None, True, {"x": ("/srv/a/d")}]}
    assert without_host_paths(value) == {"b": ["c", 5, None, True, {"x": "d"}]}


def test_depth() -> None:
    """A value of any depth is cleaned or cut, without a RecursionError."""
    value: Any = "/srv/a/b"
    for _ in range(5000):
        value = [value]
    assert "srv" not in json.dumps(without_host_paths(value))


NAMES = st.text(alphabet="abc._- é", min_size=1, max_size=6).filter(lambda name: name.strip(" .") == name)


@given(st.lists(NAMES, min_size=2, max_size=5), st.sampled_from(["'", '"']), st.text(alphabet="xyz ,.()", max_size=8))
def test_no_quoted_path_survives(names: list[str], quote: str, around: str) -> None:
    """Whatever a quoted absolute path is made of, only its last name is left."""
    path = "/" + "/".join(names)
    assert without_host_paths(f"{around}{quote}{path}{quote}{around}") == f"{around}{quote}{names[-1]}{quote}{around}"


WORDS = st.from_regex(re.compile(r"[A-Za-z0-9_.-]{1,6}", re.ASCII), fullmatch=True)


@given(st.lists(WORDS, min_size=2, max_size=5), st.sampled_from(["", " ", "(", "=", ": ", "\n", ", "]))
def test_no_bare_path_survives(names: list[str], before: str) -> None:
    """Whatever a bare absolute path without blanks is made of, only its last name is left."""
    assert without_host_paths(f"{before}/{'/'.join(names)} end") == f"{before}{names[-1]} end"
