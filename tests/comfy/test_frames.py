"""Frames of ComfyUI's socket, read."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.events import BinaryFrame, TextFrame, is_replaceable, parse, plain_preview

METADATA = {"node_id": "2", "prompt_id": "p", "display_node_id": "2", "image_type": "image/jpeg"}


def _with_metadata(metadata: object, picture: bytes = b"jpg") -> bytes:
    text = json.dumps(metadata).encode()
    return struct.pack(">II", 4, len(text)) + text + picture


def test_recorded_frames(frames: list[str | bytes]) -> None:
    """Every frame that a recorded ComfyUI sent is understood, and kept as it was."""
    assert len(frames) > 100
    for frame in frames:
        read = parse(frame)
        assert read is not None
        assert read.raw == frame
        if isinstance(read, TextFrame):
            assert {"type": read.type, "data": read.data} == json.loads(read.raw)
            assert read.prompt_id == read.data.get("prompt_id")
            assert (read.prompt_id is None) == (read.type in ("status", "feature_flags"))


def test_recorded_node_walk(frames: list[str | bytes]) -> None:
    """The current node is read from `executing`, which ends with none, and from nothing else."""
    read = [frame for frame in map(parse, frames) if isinstance(frame, TextFrame)]
    walk = [frame.node for frame in read if frame.type == "executing"]
    assert walk[-1] is None
    assert {"1", "2", "3", None} >= set(walk)
    assert all(frame.node is None for frame in read if frame.type != "executing")


def test_recorded_binary_kinds(frames: list[str | bytes]) -> None:
    """Recorded previews with and without metadata, and texts, are told apart; only metadata names the job."""
    read = [frame for frame in map(parse, frames) if isinstance(frame, BinaryFrame)]
    assert {frame.kind for frame in read} == {1, 3, 4}
    for frame in read:
        assert (frame.prompt_id is not None) == (frame.kind == 4)
        assert frame.image_type == (None if frame.kind == 3 else "jpeg")
        assert is_replaceable(frame) == (frame.kind != 3)


def test_recorded_previews_become_plain(frames: list[str | bytes]) -> None:
    """Design §5: a preview with metadata becomes the frame that ComfyUI sends to clients without the flag."""
    read = [frame for frame in map(parse, frames) if isinstance(frame, BinaryFrame)]
    plain = next(frame for frame in read if frame.kind == 1)
    for frame in read:
        raw = plain_preview(frame)
        if frame.kind == 4:
            again = parse(raw)
            assert again == BinaryFrame(1, None, "jpeg", raw)
            assert raw[:8] == plain.raw[:8]
            assert raw[8:11] == b"\xff\xd8\xff"
            assert frame.raw.endswith(raw[8:])
        else:
            assert raw == frame.raw


@pytest.mark.parametrize(
    "frame",
    [
        "",
        "x",
        "[]",
        "5",
        "null",
        "{}",
        '{"type": 5}',
        '{"type": null, "data": {}}',
        "[" * 5000,
        '{"type": "a"',
        "\ud800",
        '{"type": "a", "data": 1e999}',
    ],
)
def test_junk_text_is_dropped(frame: str) -> None:
    """A text that is no event is dropped, and costs nothing else."""
    assert parse(frame) is None


@pytest.mark.parametrize("data", ["null", "[1]", "5", '"x"'])
def test_data_that_is_no_object(data: str) -> None:
    """Node packs send what they like: the frame is kept for the allow lists, without data of its own."""
    assert parse(f'{{"type": "pack.event", "data": {data}}}') == TextFrame(
        "pack.event", {}, None, None, f'{{"type": "pack.event", "data": {data}}}'
    )


def test_odd_ids_are_no_ids() -> None:
    """Only a text is a prompt id or a node."""
    frame = parse('{"type": "executing", "data": {"node": 5, "prompt_id": ["a"]}}')
    assert isinstance(frame, TextFrame)
    assert (frame.prompt_id, frame.node) == (None, None)


def test_nan_is_mended() -> None:
    """F27: an error whose inputs hold NaN still ends its job, and reaches browsers as JSON that they can parse."""
    raw = '{"type": "execution_error", "data": {"prompt_id": "p", "current_inputs": {"x": [NaN, -Infinity]}}}'
    frame = parse(raw)
    assert isinstance(frame, TextFrame)
    assert frame.prompt_id == "p"
    assert json.loads(frame.raw)["data"] == frame.data == {"prompt_id": "p", "current_inputs": {"x": [None, None]}}
    assert "NaN" not in frame.raw


def test_half_surrogates_are_mended() -> None:
    """A broken file name in an event breaks neither the ledger nor the socket."""
    frame = parse('{"type": "executed", "data": {"prompt_id": "p", "output": {"text": ["a\\ud800b"]}}}')
    assert isinstance(frame, TextFrame)
    assert frame.data["output"] == {"text": ["a?b"]}
    assert frame.raw.encode("utf-8")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\x00" * 7,
        struct.pack(">II", 2, 0),
        struct.pack(">II", 0, 0),
        struct.pack(">II", 99, 0) + b"x" * 50,
        struct.pack(">II", 3, 5) + b"abc",
        struct.pack(">II", 4, 2**32 - 1) + b"{}",
        struct.pack(">II", 4, 2) + b"[]jpg",
        struct.pack(">II", 4, 2) + b"{}jpg",
        struct.pack(">II", 4, 3) + b"{]}jpg",
        _with_metadata({**METADATA, "prompt_id": None}),
        _with_metadata({**METADATA, "prompt_id": ["p"]}),
    ],
)
def test_junk_bytes_are_dropped(frame: bytes) -> None:
    """A binary frame of another kind, cut short, or without its job's id, is dropped."""
    assert parse(frame) is None


@pytest.mark.parametrize(
    ("frame", "image_type", "replaceable"),
    [
        (struct.pack(">II", 1, 1) + b"jpg", "jpeg", True),
        (struct.pack(">II", 1, 2) + b"png", "png", False),
        (struct.pack(">II", 1, 7) + b"???", None, False),
        (struct.pack(">II", 3, 1) + b"2step", None, False),
        (_with_metadata(METADATA), "jpeg", True),
        (_with_metadata({**METADATA, "image_type": "image/png"}), "png", False),
        (_with_metadata({**METADATA, "image_type": "image/webp"}), None, False),
        (_with_metadata({**METADATA, "image_type": {}}), None, False),
    ],
)
def test_replaceable(frame: bytes, image_type: str | None, replaceable: bool) -> None:
    """Design §5: JPEG previews may be replaced by the newest; PNG frames are results and texts are events."""
    read = parse(frame)
    assert isinstance(read, BinaryFrame)
    assert (read.image_type, is_replaceable(read)) == (image_type, replaceable)


def test_plain_png() -> None:
    """A PNG with metadata becomes a plain PNG frame."""
    frame = parse(_with_metadata({**METADATA, "image_type": "image/png"}, b"picture"))
    assert isinstance(frame, BinaryFrame)
    assert plain_preview(frame) == struct.pack(">II", 1, 2) + b"picture"


def test_text_is_not_replaceable() -> None:
    """No text frame is ever replaced."""
    frame = parse('{"type": "progress", "data": {}}')
    assert frame is not None
    assert not is_replaceable(frame)


@given(st.binary(max_size=60) | st.text(max_size=40) | st.text(alphabet='{}[]":,typedaNIn01e', max_size=30))
def test_reading_never_raises(frame: str | bytes) -> None:
    """Whatever comes from a server, reading it raises nothing."""
    read = parse(frame)
    assert read is None or isinstance(read, TextFrame | BinaryFrame)


@given(st.binary(min_size=0, max_size=30), st.sampled_from([1, 3, 4]), st.integers(0, 2**32 - 1))
def test_reading_binary_never_raises(rest: bytes, kind: int, second: int) -> None:
    """Whatever follows a known kind, reading and plain form raise nothing."""
    read = parse(struct.pack(">II", kind, second) + rest)
    if isinstance(read, BinaryFrame):
        assert plain_preview(read)
