"""Every recorded job sends the frames it sent, in that order."""

import json
import struct
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import pytest

from tests.demo.recorded_session import VERSIONS, Session, recorded_frames, scenarios
from tests.demo.same_shape import differences

CASES = [(version, scenario) for version in VERSIONS for scenario in scenarios(version)]


def _read(frame: str | bytes) -> dict[str, Any]:
    """A frame as something to compare: of binary ones the framing, and of pictures the format instead of the bytes."""
    if isinstance(frame, str):
        return dict(json.loads(frame))
    kind, word = struct.unpack(">II", frame[:8])
    if kind == 1:
        return {"binary": kind, "format": word, "magic": frame[8:11].hex()}
    head, rest = frame[8 : 8 + word], frame[8 + word :]
    if kind == 3:
        return {"binary": kind, "node": head.decode(), "text": rest.decode()}
    return {"binary": kind, "label": json.loads(head), "magic": rest[:3].hex()}


def _steps_collapsed(frames: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Frames with each run of progress reported while one node runs reduced to its first two."""

    def is_step(frame: dict[str, Any]) -> bool:
        if frame.get("type") != "progress_state":
            return frame.get("type") == "progress"
        return any(node["state"] == "running" and node["value"] for node in frame["data"]["nodes"].values())

    for step, group in groupby(frames, is_step):
        run = list(group)
        yield from run[:2] if step else run


@pytest.mark.parametrize(("version", "scenario"), CASES)
def test_frames(sessions: Callable[[str], Session], version: str, scenario: str) -> None:
    """The job's client is sent the recorded frames: types, keys, values, binary framing and order."""
    recorded = [_read(frame) for frame in recorded_frames(version, scenario)[1]]
    ours = [_read(frame) for frame in sessions(version).frames[scenario]]
    if scenario == "interrupted":  # How many steps it makes until it is interrupted is a matter of time.
        recorded, ours = list(_steps_collapsed(recorded)), list(_steps_collapsed(ours))
    assert differences(recorded, ours) == []


@pytest.mark.parametrize("version", VERSIONS)
def test_history_keeps_the_messages(sessions: Callable[[str], Session], version: str) -> None:
    """What the client was told of a job's fate is what the history tells of it."""
    session = sessions(version)
    told = [json.loads(frame) for frame in session.frames["error"] if isinstance(frame, str)]
    (entry,) = json.loads(session.answers["history.error"].body).values()
    kinds = ("execution_start", "execution_cached", "execution_error")
    assert entry["status"]["messages"] == [[one["type"], one["data"]] for one in told if one["type"] in kinds]
