"""Every route of ComfyUI and what becomes of it: the closed list on which "unknown is denied" rests.

It does not know how an address is read (`table` does) nor who asks. A route of a newer ComfyUI that is missing here is
refused until a line is added: a new version can add a route, it cannot add a leak.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

Permission = Literal["read", "submit", "admin"]
RateClass = Literal["submit", "poll", "view", "upload", "socket", "static", "default"]


class Becomes(StrEnum):
    """What the gateway does with a call."""

    PASS = "pass"
    """Streamed through."""
    BUILD = "build"
    """Answered by the gateway."""
    OWN = "own"
    """Asked of ComfyUI in other words: about what is the caller's."""
    ADMIN = "admin"
    """Streamed through for administrators, refused to others."""
    OFF = "off"
    """Answered as a part of ComfyUI that is switched off."""
    DENY = "deny"
    """Refused to everybody."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method on one path pattern.

    In a pattern `{name}` is one segment, `{name:rest}` all that is left, `{name:file}` a static file at the top level.
    """

    method: str
    pattern: str
    becomes: Becomes
    answer: str = ""
    """Name of the handler of a BUILD, OWN or OFF row."""
    needs: Permission = "read"
    """What the caller must have; at least `submit` where something changes, `admin` for ADMIN rows."""
    prefixes: tuple[str, ...] = ("", "/api")
    """Where ComfyUI has it."""
    limit: RateClass = "default"
    """How it is counted: each class has its own rate."""
    json: bool = False
    """A cookie session must send application/json with a body: where ComfyUI's editor does (not for settings)."""
    static: bool = False
    """Files of the editor and of node packs: an unknown GET below is 404."""
    cacheable: bool = False
    slash: bool = False
    """A parameter may hold an encoded slash."""
    free: bool = False
    """A parameter may hold any printable text, encoded: file names, node classes."""
    mutates: bool = False
    """Something changes on the server, whatever the method: a cookie session must prove where it comes from."""


def completed(row: Row) -> Row:
    """The row with what follows from its method and from what it becomes."""
    mutates = row.mutates or row.method not in ("GET", "HEAD")
    admin = row.needs == "admin" or row.becomes in (Becomes.ADMIN, Becomes.DENY)
    needs: Permission = "admin" if admin else "submit" if mutates else row.needs
    limit: RateClass = "static" if row.static else row.limit
    return replace(row, needs=needs, mutates=mutates, limit=limit)


PASS, BUILD, OWN, ADMIN, OFF, DENY = Becomes
BARE = ("",)
API = ("/api",)
JOBS = ("/api", "/api/api")
"""ComfyUI registers these as `/api/jobs` and then once more under `/api`; `/jobs` alone does not exist."""

_QUEUE = (
    Row("GET", "/prompt", BUILD, "get_prompt", limit="poll"),
    Row("POST", "/prompt", BUILD, "submit", limit="submit", json=True),
    Row("GET", "/queue", BUILD, "get_queue", limit="poll"),
    Row("POST", "/queue", BUILD, "post_queue", json=True),
    Row("GET", "/history", BUILD, "get_history", limit="poll"),
    Row("GET", "/history/{prompt_id}", BUILD, "get_history_item", limit="poll"),
    Row("POST", "/history", BUILD, "post_history", json=True),
    Row("POST", "/interrupt", BUILD, "interrupt", json=True),
    # Not in ComfyUI; published API guides tell users of it.
    Row("POST", "/clear", BUILD, "clear", json=True),
    Row("POST", "/free", ADMIN, json=True),
    Row("GET", "/jobs", BUILD, "list_jobs", prefixes=JOBS, limit="poll"),
    Row("GET", "/jobs/{job_id}", BUILD, "get_job", prefixes=JOBS, limit="poll"),
    Row("POST", "/jobs/{job_id}/cancel", BUILD, "cancel_job", prefixes=JOBS),
    Row("POST", "/jobs/cancel", BUILD, "cancel_jobs", prefixes=JOBS, json=True),
    Row("GET", "/ws", BUILD, "socket", needs="submit", limit="socket"),
)

_FILES = (
    Row("GET", "/view", OWN, "view", limit="view"),
    Row("POST", "/upload/image", OWN, "upload_image", limit="upload"),
    Row("POST", "/upload/mask", OWN, "upload_mask", limit="upload"),
    Row("GET", "/internal/files/{directory_type}", BUILD, "list_files", prefixes=BARE),
    Row("GET", "/view_metadata/custom_nodes", DENY),
    Row("GET", "/view_metadata/{folder_name}", OWN, "model_metadata", free=True),
)

# A model's name may have folders in it, plain or encoded.
_PREVIEW = "/experiment/models/preview/{folder}/{path_index}/{filename:rest}"

_MODELS = (
    Row("GET", "/embeddings", BUILD, "list_embeddings"),
    Row("GET", "/models", PASS, cacheable=True),
    # Lists every file of every node pack on the host.
    Row("GET", "/models/custom_nodes", DENY),
    Row("GET", "/models/{folder}", BUILD, "list_models", free=True),
    Row("GET", "/experiment/models", BUILD, "list_model_folders"),
    Row("GET", "/experiment/models/custom_nodes", DENY),
    Row("GET", "/experiment/models/{folder}", BUILD, "list_models", free=True),
    Row("GET", "/experiment/models/preview/custom_nodes/{path:rest}", DENY, slash=True, free=True),
    Row("GET", _PREVIEW, OWN, "model_preview", limit="view", cacheable=True, slash=True, free=True),
)

_USER_DATA = (
    Row("GET", "/users", BUILD, "get_users"),
    Row("POST", "/users", DENY),
    Row("GET", "/settings", BUILD, "get_settings"),
    Row("POST", "/settings", BUILD, "post_settings"),
    Row("GET", "/settings/{id}", BUILD, "get_setting", slash=True, free=True),
    Row("POST", "/settings/{id}", BUILD, "post_setting", slash=True, free=True),
    Row("GET", "/userdata", BUILD, "list_user_data"),
    Row("GET", "/v2/userdata", BUILD, "list_user_data_entries"),
    Row("GET", "/userdata/{file}", BUILD, "get_user_file", slash=True, free=True),
    Row("POST", "/userdata/{file}", BUILD, "post_user_file", slash=True, free=True),
    Row("DELETE", "/userdata/{file}", BUILD, "delete_user_file", slash=True, free=True),
    Row("POST", "/userdata/{file}/move/{dest}", BUILD, "move_user_file", slash=True, free=True),
)

_INFORMATION = (
    Row("GET", "/object_info", BUILD, "object_info"),
    Row("GET", "/object_info/{node_class}", BUILD, "object_info_class", slash=True, free=True),
    Row("GET", "/system_stats", BUILD, "system_stats"),
    Row("GET", "/features", PASS, cacheable=True),
    Row("GET", "/extensions", PASS, cacheable=True),
    Row("GET", "/workflow_templates", PASS, cacheable=True),
    Row("GET", "/i18n", PASS, cacheable=True),
    Row("GET", "/global_subgraphs", PASS, cacheable=True),
    Row("GET", "/global_subgraphs/{id}", PASS, cacheable=True),
    Row("GET", "/node_replacements", PASS, cacheable=True),
)

_INTERNAL = (
    Row("GET", "/internal/logs", ADMIN, prefixes=BARE),
    Row("GET", "/internal/logs/raw", ADMIN, prefixes=BARE),
    Row("PATCH", "/internal/logs/subscribe", ADMIN, prefixes=BARE, json=True),
    Row("GET", "/internal/folder_paths", OFF, "no_folder_paths", prefixes=BARE),
)


def _assets() -> Iterator[Row]:
    """The asset library: without owners in any ComfyUI, so it is answered as switched off, whatever is asked of it."""
    yield Row("GET", "/assets", OFF, "off", prefixes=API)
    yield Row("POST", "/assets", OFF, "off", prefixes=API)
    yield Row("GET", "/tags", OFF, "off", prefixes=API)
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        yield Row(method, "/assets/{path:rest}", OFF, "off", prefixes=API, free=True)


def _manager() -> Iterator[Row]:
    """ComfyUI-Manager, as the old node pack and as the new package: it installs code, so it is for administrators.

    Some of its GET routes act (reboot, update), hence `mutates` on every one of them.
    """
    for version in ("", "/v2"):
        for part in ("manager", "customnode", "snapshot", "externalmodel", "comfyui_manager"):
            for method in ("GET", "POST"):
                yield Row(method, f"{version}/{part}/{{path:rest}}", ADMIN, free=True, mutates=True)


def _static() -> Iterator[Row]:
    yield Row("GET", "/", PASS, static=True)
    for folder in ("assets", "scripts", "fonts", "cursor", "extensions", "templates", "docs"):
        yield Row(
            "GET",
            f"/{folder}/{{path:rest}}",
            PASS,
            prefixes=BARE,
            static=True,
            cacheable=True,
            free=True,
            limit="static",
        )
    path = "/workflow_templates/{pack}/{path:rest}"
    yield Row("GET", path, PASS, prefixes=API, static=True, cacheable=True, free=True)
    yield Row("GET", "/{path:file}", PASS, prefixes=BARE, static=True, cacheable=True)


TABLE: tuple[Row, ...] = tuple(
    completed(row)
    for row in (
        *_QUEUE,
        *_FILES,
        *_MODELS,
        *_USER_DATA,
        *_INFORMATION,
        *_INTERNAL,
        *_assets(),
        *_manager(),
        *_static(),
    )
)
