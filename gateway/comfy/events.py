"""Event frames of ComfyUI's websocket: for whom each one is, and the ones that the gateway makes itself.

It does not know sockets or users: `audience` names a job, and whoever holds the ledger knows its owner.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from gateway.comfy.frames import BinaryFrame, TextFrame, is_replaceable, parse, plain_preview

__all__ = [
    "Audience",
    "BinaryFrame",
    "Everybody",
    "Execute",
    "Hello",
    "Nobody",
    "Other",
    "OwnerOf",
    "TextFrame",
    "audience",
    "changed",
    "error_data",
    "executing",
    "execution_error",
    "feature_flags",
    "is_replaceable",
    "parse",
    "plain_preview",
    "read_client_message",
    "status",
]

# Made here (status, flags), or for those who subscribed by name (the host's log): whatever a list says, not passed on.
_NEVER = frozenset({"status", "feature_flags", "logs"})


@dataclass(frozen=True, slots=True)
class OwnerOf:
    """The owner of this job."""

    prompt_id: str


@dataclass(frozen=True, slots=True)
class Everybody:
    """Every user's sockets."""


@dataclass(frozen=True, slots=True)
class Nobody:
    """Dropped."""


Audience = OwnerOf | Everybody | Nobody


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's feature flags. What is no object is none: in ComfyUI it would fail all later jobs of that client."""

    flags: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Execute:
    """The message `execute` of the published API guides: a workflow to submit. `data` is unchecked."""

    data: Any


@dataclass(frozen=True, slots=True)
class Other:
    """Any other JSON object. ComfyUI ignores it, but feature flags that come after it too."""


def audience(
    frame: TextFrame | BinaryFrame,
    *,
    running_prompt: str | None,
    broadcast: Collection[str] = (),
    owner_of_running: Collection[str] = (),
) -> Audience:
    """For whom a frame is. Without a prompt_id only binary frames and allowed types reach anybody at all.

    One job runs at a time per server, so a frame without an id belongs to `running_prompt`: None if that is not ours.
    """
    if frame.prompt_id is not None:
        return OwnerOf(frame.prompt_id)
    runner = Nobody() if running_prompt is None else OwnerOf(running_prompt)
    if isinstance(frame, BinaryFrame):
        return runner
    if frame.type in _NEVER:
        return Nobody()
    if frame.type in broadcast:
        return Everybody()
    return runner if frame.type in owner_of_running else Nobody()


def status(count: int, sid: str | None = None) -> str:
    """The frame `status`; with `sid` the first one of a socket, whose value the client takes as its id."""
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": count}}}
    return _message("status", data if sid is None else {**data, "sid": sid})


def executing(node: str | None, prompt_id: str | None = None, display: str | None = None) -> str:
    """The frame `executing`: node None is the end of a job; without `prompt_id` it is for a client that comes back."""
    data: dict[str, Any] = {"node": node}
    if display is not None:
        data["display_node"] = display
    return _message("executing", data if prompt_id is None else {**data, "prompt_id": prompt_id})


def feature_flags(server_flags: Mapping[str, Any], *, max_upload_size: int) -> str:
    """The server's flags as clients here see them; `max_upload_size` in bytes.

    Assets are answered as switched off. `supports_progress_text_metadata` announces an id in frames of kind 3 that this
    server does not send to us, so a client that believed it would misread every one.
    """
    ours = {"max_upload_size": max_upload_size, "assets": False}
    kept = {key: value for key, value in server_flags.items() if key != "supports_progress_text_metadata"}
    return _message("feature_flags", {**kept, **ours})


def error_data(
    *,
    prompt_id: str,
    exception_type: str,
    exception_message: str,
    timestamp: int,
    node_id: str | None = None,
    node_type: str | None = None,
    executed: Sequence[str] = (),
) -> dict[str, Any]:
    """The data of `execution_error`, for a job that the gateway ends itself; `timestamp` in milliseconds."""
    return {
        "prompt_id": prompt_id,
        "node_id": node_id,
        "node_type": node_type,
        "executed": list(executed),
        "exception_message": exception_message,
        "exception_type": exception_type,
        "traceback": [],
        "current_inputs": {},
        "current_outputs": [],
        "timestamp": timestamp,
    }


def execution_error(data: Mapping[str, Any]) -> str:
    """The frame `execution_error` with data as `error_data` makes it."""
    return _message("execution_error", data)


def changed(frame: TextFrame, data: dict[str, Any]) -> TextFrame:
    """The frame with other data, written anew."""
    return replace(frame, data=data, raw=_message(frame.type, data))


def read_client_message(text: str) -> Hello | Execute | Other | None:
    """Read what a client sends; None for what is no JSON object, which does not even count as its first message."""
    try:
        message = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
    if not isinstance(message, dict):
        return None
    data = message.get("data")
    if message.get("type") == "feature_flags":
        return Hello(data if isinstance(data, dict) else {})
    return Execute(data) if message.get("type") == "execute" else Other()


def _message(kind: str, data: Mapping[str, Any]) -> str:
    """As ComfyUI writes it, blanks and all: there are clients that compare texts."""
    return json.dumps({"type": kind, "data": data})
