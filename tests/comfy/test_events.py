"""Events: for whom a frame is, and the frames that the gateway makes."""

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.events import (
    Audience,
    Everybody,
    Execute,
    Hello,
    Nobody,
    Other,
    OwnerOf,
    TextFrame,
    audience,
    error_data,
    executing,
    execution_error,
    feature_flags,
    parse,
    read_client_message,
    status,
)

BROADCAST = {"crystools.monitor", "status", "logs", "feature_flags"}
INTERACTIVE = {"impact-node-feedback", "status"}
PLAIN_PREVIEW = struct.pack(">II", 1, 1) + b"jpg"
NODE_TEXT = struct.pack(">II", 3, 1) + b"2step"
METADATA = json.dumps({"prompt_id": "p", "image_type": "image/jpeg"}).encode()
METADATA_PREVIEW = struct.pack(">II", 4, len(METADATA)) + METADATA + b"jpg"


def _audience(raw: str | bytes, running: str | None) -> Audience:
    frame = parse(raw)
    assert frame is not None
    return audience(frame, running_prompt=running, broadcast=BROADCAST, owner_of_running=INTERACTIVE)


@pytest.mark.parametrize("running", [None, "p", "other"])
def test_recorded_frames_go_to_their_owner(frames: list[str | bytes], running: str | None) -> None:
    """Design §5: a recorded frame with a prompt_id goes to that job's owner, status to nobody, the rest to who runs."""
    for raw in frames:
        frame = parse(raw)
        assert frame is not None
        expected: Audience = Nobody()
        if frame.prompt_id is not None:
            expected = OwnerOf(frame.prompt_id)
        elif isinstance(raw, bytes) and running is not None:
            expected = OwnerOf(running)
        assert _audience(raw, running) == expected


@pytest.mark.parametrize(
    ("raw", "running", "expected"),
    [
        (METADATA_PREVIEW, None, OwnerOf("p")),
        (METADATA_PREVIEW, "other", OwnerOf("p")),
        (PLAIN_PREVIEW, "r", OwnerOf("r")),
        (PLAIN_PREVIEW, None, Nobody()),
        (NODE_TEXT, "r", OwnerOf("r")),
        (NODE_TEXT, None, Nobody()),
        ('{"type": "crystools.monitor", "data": {}}', None, Everybody()),
        ('{"type": "crystools.monitor", "data": {"prompt_id": "p"}}', None, OwnerOf("p")),
        ('{"type": "impact-node-feedback", "data": {}}', "r", OwnerOf("r")),
        ('{"type": "impact-node-feedback", "data": {}}', None, Nobody()),
        ('{"type": "cm-queue-status", "data": {}}', "r", Nobody()),
        ('{"type": "assets.seed.started", "data": {}}', "r", Nobody()),
        ('{"type": "executing", "data": {"node": "2"}}', "r", Nobody()),
        ('{"type": "progress", "data": {"value": 1}}', "r", Nobody()),
        ('{"type": "logs", "data": {"entries": []}}', "r", Nobody()),
        ('{"type": "status", "data": {}}', "r", Nobody()),
        ('{"type": "feature_flags", "data": {}}', "r", Nobody()),
    ],
)
def test_audience(raw: str | bytes, running: str | None, expected: Audience) -> None:
    """I28-I30: three rules and otherwise nobody; the host's log and other people's counts on no list at all."""
    assert _audience(raw, running) == expected


@given(st.text(max_size=20), st.dictionaries(st.sampled_from(["node", "x", "prompt_id"]), st.text(max_size=3)))
def test_unlisted_frames_reach_one_owner_or_nobody(kind: str, data: dict[str, str]) -> None:
    """A frame that no list names never goes to everybody, and with an id to no other owner than that job's."""
    frame = parse(json.dumps({"type": kind, "data": data}))
    assert frame is not None
    found = audience(frame, running_prompt="r")
    assert found == (OwnerOf(data["prompt_id"]) if "prompt_id" in data else Nobody())


def test_status(frames: list[str | bytes]) -> None:
    """Status frames are written as ComfyUI's, byte for byte, with and without the sid."""
    recorded = {raw for raw in frames if isinstance(raw, str) and '"status"' in raw}
    for raw in recorded:
        data = json.loads(raw)["data"]
        assert status(data["status"]["exec_info"]["queue_remaining"], data.get("sid")) == raw
    assert any('"sid"' in raw for raw in recorded)


def test_executing(frames: list[str | bytes]) -> None:
    """Executing frames are written as ComfyUI's, byte for byte, for a node and at the end."""
    recorded = [raw for raw in frames if isinstance(raw, str) and raw.startswith('{"type": "executing"')]
    for raw in recorded:
        data = json.loads(raw)["data"]
        assert executing(data["node"], data["prompt_id"], data.get("display_node")) == raw
    assert executing("2") == '{"type": "executing", "data": {"node": "2"}}'


def test_execution_error(frames: list[str | bytes]) -> None:
    """An error that the gateway makes has the keys of ComfyUI's, in their order."""
    raw = next(raw for raw in frames if isinstance(raw, str) and "execution_error" in raw)
    data = error_data(
        prompt_id="p", exception_type="server_lost", exception_message="The server was lost.", timestamp=5
    )
    made = parse(execution_error(data))
    assert isinstance(made, TextFrame)
    assert list(made.data) == list(json.loads(raw)["data"])
    assert (made.type, made.prompt_id, made.data["exception_type"]) == ("execution_error", "p", "server_lost")


def test_feature_flags(frames: list[str | bytes]) -> None:
    """Design §5: clients see the server's flags, with assets off and the upload limit of their role."""
    raw = next(raw for raw in frames if isinstance(raw, str) and "feature_flags" in raw)
    flags = json.loads(raw)["data"]
    made = json.loads(feature_flags({**flags, "assets": True}, max_upload_size=5))
    assert made["type"] == "feature_flags"
    assert made["data"] == {**flags, "assets": False, "max_upload_size": 5}
    assert feature_flags({}, max_upload_size=5)
    assert "progress_text" not in feature_flags({"supports_progress_text_metadata": True}, max_upload_size=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"type": "feature_flags", "data": {"supports_preview_metadata": true}}',
            Hello({"supports_preview_metadata": True}),
        ),
        ('{"type": "feature_flags"}', Hello({})),
        ('{"type": "feature_flags", "data": []}', Hello({})),
        ('{"type": "feature_flags", "data": null}', Hello({})),
        ('{"type": "feature_flags", "data": "x"}', Hello({})),
        ('{"type": "execute", "data": {"1": {}}}', Execute({"1": {}})),
        ('{"type": "execute"}', Execute(None)),
        ('{"type": "other"}', Other()),
        ("{}", Other()),
        ('{"type": ["feature_flags"]}', Other()),
        ("[]", None),
        ("5", None),
        ("null", None),
        ("", None),
        ("hello", None),
        ('{"type": "feature_flags", "data": {"x": NaN}}', None),
        ("[" * 100_000, None),
        ('{"type": "feature_flags", "data": ' + "[" * 2000, None),
        ("\ud800", None),
    ],
)
def test_client_messages(text: str, message: object) -> None:
    """Protocol 2: flags that are no object count as none, because ComfyUI would fail that client's jobs over them."""
    assert read_client_message(text) == message


@given(st.text(max_size=40))
def test_client_messages_never_raise(text: str) -> None:
    """Whatever a client sends, reading it raises nothing."""
    read_client_message(text)
