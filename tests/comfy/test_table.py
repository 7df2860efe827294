"""The table: every route of ComfyUI has its place, every other is refused."""

import re
from collections.abc import Iterator

import pytest

from gateway.comfy.table import TABLE, Becomes, Call, Row, read
from gateway.errors import (
    AddressTooLong,
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    RouteNotAllowed,
)

HANDLERS = {
    "submit",
    "view",
    "upload_image",
    "upload_mask",
    "list_files",
    "object_info",
    "object_info_class",
    "system_stats",
    "list_embeddings",
    "list_model_folders",
    "list_models",
    "model_metadata",
    "model_preview",
    "get_prompt",
    "get_queue",
    "post_queue",
    "get_history",
    "get_history_item",
    "post_history",
    "interrupt",
    "clear",
    "list_jobs",
    "get_job",
    "cancel_job",
    "cancel_jobs",
    "socket",
    "get_users",
    "get_settings",
    "post_settings",
    "get_setting",
    "post_setting",
    "list_user_data",
    "list_user_data_entries",
    "get_user_file",
    "post_user_file",
    "delete_user_file",
    "move_user_file",
    "off",
    "no_folder_paths",
}


def _filled(pattern: str) -> bytes:
    return re.sub(r"\{[^}]*\}", "sample", pattern).encode()


def _ask(method: str, path: str, *, extra_routes: tuple[str, ...] = ()) -> Call:
    return read(method, path.encode(), b"", extra_routes=extra_routes)


def test_recorded_routes_are_classified(routes: list[tuple[str, str, str]]) -> None:
    """Design §2.6: no route that a recorded ComfyUI registers is missing from the table."""
    missing = []
    for method, path, kind in routes:
        target = f"{path}/file.js" if kind == "static" else _filled(path).decode()
        try:
            _ask(method, target)
        except GatewayError as error:
            missing.append((method, path, error.type))
    assert missing == []


def test_recorded_routes_keep_their_parameters(routes: list[tuple[str, str, str]]) -> None:
    """A recorded route is found by its own row, with the same parameter names, not by a wider one."""
    for method, path, kind in routes:
        if kind == "static" or path.startswith("/api/assets"):
            continue
        call = _ask(method, _filled(path).decode())
        pattern = re.sub(r":\w+\}", "}", call.row.pattern)
        assert path.removeprefix("/api").removeprefix("/api") == pattern.removeprefix("/api"), (method, path)


PROTOCOL = """
GET /prompt build; POST /prompt build; GET /queue build; POST /queue build; POST /interrupt build; GET /history build
GET /history/x build; POST /history build; POST /free admin; GET /api/jobs build; GET /api/jobs/x build
POST /api/jobs/x/cancel build; POST /api/jobs/cancel build; GET /api/api/jobs build; POST /api/api/jobs/cancel build
GET /view own; POST /upload/image own; POST /upload/mask own; GET /view_metadata/checkpoints own
GET /internal/files/output build; GET /models pass; GET /models/loras build; GET /models/custom_nodes deny
GET /experiment/models build; GET /experiment/models/loras build; GET /experiment/models/preview/loras/0/a/b.png own
GET /embeddings build; GET /api/assets off; GET /api/tags off; PUT /api/assets/x off; DELETE /api/assets/x off
GET /api/assets/x/content off; POST /api/assets/x/tags off; DELETE /api/assets/x/tags off; POST /api/assets off
POST /api/assets/from-hash off; HEAD /api/assets/hash/x off; GET /api/assets/tags/refine off
POST /api/assets/seed off; POST /api/assets/seed/cancel off; POST /api/assets/prune off; GET /api/assets/seed/status off
GET /users build; POST /users deny; GET /settings build; POST /settings build; GET /settings/Comfy.A build
POST /settings/Comfy.A build; GET /userdata build; GET /v2/userdata build; GET /userdata/a%2Fb.json build
POST /userdata/a%2Fb.json build; DELETE /userdata/a%2Fb.json build; POST /userdata/a%2Fb.json/move/c%2Fd.json build
GET /object_info build; GET /object_info/KSampler build; GET /system_stats build; GET /features pass
GET /extensions pass
GET /workflow_templates pass; GET /i18n pass; GET /global_subgraphs pass; GET /global_subgraphs/x pass
GET /node_replacements pass; GET /internal/logs admin
GET /internal/logs/raw admin; PATCH /internal/logs/subscribe admin
GET /internal/folder_paths off; GET / pass; GET /index.html pass; GET /assets/index-a1.js pass; GET /user.css pass
GET /extensions/core/a.js pass; GET /docs/KSampler/en.md pass; GET /templates/index.json pass; GET /fonts/a.woff2 pass
GET /scripts/app.js pass; GET /cursor/a.png pass; GET /materialdesignicons.min.css pass; GET /api/ pass
GET /api/workflow_templates/pack/a.json pass; GET /ws build; GET /api/ws build; POST /clear build; POST /api/clear build
GET /manager/queue/status admin; GET /api/manager/reboot admin; POST /customnode/install/git_url admin
GET /customnode/getmappings admin; GET /snapshot/getlist admin; GET /externalmodel/getlist admin
POST /comfyui_manager/x admin; GET /v2/manager/version admin; POST /api/v2/manager/queue/task admin
POST /v2/customnode/import_fail_info admin; POST /v2/snapshot/save admin; GET /v2/comfyui_manager/comfyui_versions admin
"""


def _protocol_rows() -> Iterator[tuple[str, str, str]]:
    for entry in PROTOCOL.replace("\n", ";").split(";"):
        if entry.strip():
            method, path, becomes = entry.split()
            yield method, path, becomes


@pytest.mark.parametrize(("method", "path", "becomes"), list(_protocol_rows()))
def test_every_route_of_the_protocol(method: str, path: str, becomes: str) -> None:
    """Design §3: each route that is known of ComfyUI becomes what the design says."""
    assert _ask(method, path).row.becomes == becomes


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.pattern}")
def test_rows_are_whole(row: Row) -> None:
    """Rows that the gateway answers name a handler; what changes something needs more than `read`, ADMIN rows admin."""
    assert bool(row.answer) == (row.becomes in (Becomes.BUILD, Becomes.OWN, Becomes.OFF))
    assert row.answer in HANDLERS | {""}
    assert row.mutates or row.method == "GET"
    assert not row.mutates or row.needs in ("submit", "admin")
    assert row.becomes not in (Becomes.ADMIN, Becomes.DENY) or row.needs == "admin"


def test_every_handler_is_asked_for() -> None:
    """No handler name is left without a row."""
    assert {row.answer for row in TABLE} == HANDLERS | {""}


@pytest.mark.parametrize(
    "spelling", ["/prompt", "/api/prompt", "/%61pi/prompt", "/%70rompt", "/pr%6Fmpt", "/%61pi/%70rompt"]
)
def test_spellings_share_one_row(spelling: str) -> None:
    """P04, R03: every spelling that reaches ComfyUI's /prompt is the same row, with the same rate class."""
    call = _ask("POST", spelling)
    assert (call.row.pattern, call.path, call.row.limit, call.row.answer) == ("/prompt", "/prompt", "submit", "submit")


@pytest.mark.parametrize(
    "spelling",
    [
        "//prompt",
        "/Prompt",
        "/PROMPT",
        "/prompt/",
        "/prompt;x",
        "/prompt;/",
        "/api//prompt",
        "/api%2fprompt",
        "/./prompt",
        "/x/../prompt",
        "/prompt%00",
        "/prompt%20",
        "/prompt%3fx",
        "/prompt%23x",
        "/API/prompt",
        "/api/api/prompt",
        "/prompt%E2%81%84",
        "/prompt/x",
        "/api",
        "/jobs",
        "/jobs/x",
        "/api/internal/logs",
        "/api/docs/a.md",
        "/gateway/prompt",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_other_spellings_are_no_prompt(method: str, spelling: str) -> None:
    """P02-P18: what ComfyUI does not route to /prompt is refused or unknown here, and never redirected."""
    with pytest.raises((InvalidRequest, RouteNotAllowed)):
        _ask(method, spelling)


def test_unknown_names_the_rule() -> None:
    """Design §2.6: an unknown route is 403 `route_not_allowed`, with the rule that an administrator would add."""
    for method, path in [("GET", "/lab/hello"), ("HEAD", "/lab/hello"), ("GET", "/api/lab/hello")]:
        with pytest.raises(RouteNotAllowed) as refusal:
            _ask(method, path)
        assert refusal.value.status == 403
        assert refusal.value.extra_info == {"rule": "GET /lab/hello"}


@pytest.mark.parametrize(
    "path", ["/docs", "/docs/", "/extensions/", "/extensions/pack/secret", "/templates", "/fonts/"]
)
def test_unknown_below_static_is_not_found(path: str) -> None:
    """Design §3: an unknown GET under a static prefix is 404, so that a pack's own route cannot hide there."""
    with pytest.raises(NotFound):
        _ask("GET", path)


@pytest.mark.parametrize("path", ["/prompt.exe", "/x.php", "/.git", "/.env.json", "/secret", "/a b.css"])
def test_top_level_files_are_few(path: str) -> None:
    """Only files with the extensions of the editor's own root are passed at the top level."""
    with pytest.raises((RouteNotAllowed, InvalidRequest)):
        _ask("GET", path.replace(" ", "%20"))


def test_wrong_method_names_the_right_ones() -> None:
    """A known path with another method is 405 with `Allow`."""
    with pytest.raises(MethodNotAllowed) as refusal:
        _ask("DELETE", "/api/history/x")
    assert refusal.value.headers == {"Allow": "GET, HEAD"}
    with pytest.raises(MethodNotAllowed) as refusal:
        _ask("PUT", "/prompt")
    assert refusal.value.headers == {"Allow": "GET, HEAD, POST"}


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "CONNECT", "FOO", "get", "PRI", ""])
@pytest.mark.parametrize("path", ["/prompt", "/lab/hello", "/view"])
def test_other_methods_are_refused(method: str, path: str) -> None:
    """P21, P31: no other method reaches ComfyUI, which would answer OPTIONS on anything with 200."""
    with pytest.raises(MethodNotAllowed):
        _ask(method, path)


@pytest.mark.parametrize("row", [row for row in TABLE if row.method == "GET"], ids=lambda row: str(row.pattern))
def test_head_is_get(row: Row) -> None:
    """P31: HEAD has the row of GET, and keeps its own name."""
    path = (row.prefixes[0] + _filled(row.pattern).decode()).replace("sample", "sample.js")
    call = _ask("HEAD", path)
    assert call.method == "HEAD"
    assert call.row == _ask("GET", path).row


def test_parameters() -> None:
    """P11: parameters are decoded once, an encoded slash within one segment included, and the raw path is kept."""
    call = read("POST", b"/api/userdata/workflows%2Fa%20b.json/move/c%2Fd.json", b"overwrite=true")
    assert call.params == {"file": "workflows/a b.json", "dest": "c/d.json"}
    assert call.raw_path == b"/api/userdata/workflows%2Fa%20b.json/move/c%2Fd.json"
    assert (call.query, call.method) == (b"overwrite=true", "POST")
    assert _ask("GET", "/object_info/ConditioningAverage%20").params == {"node_class": "ConditioningAverage "}
    assert _ask("GET", "/api/jobs/cancel").params == {"job_id": "cancel"}
    assert _ask("GET", "/experiment/models/preview/loras/0/a%2Fb.png").params["filename"] == "a/b.png"


@pytest.mark.parametrize(
    "path",
    [
        "/history/a%2Fb",
        "/models/a%2Fb",
        "/extensions/core%2fa.js",
        "/internal/files/out%20put",
        "/history/a%20b",
        "/fonts/a%00.ttf",
        "/global_subgraphs/a%3Bb",
        "/userdata/..%2f..%2fx",
        "/extensions/core/..%2f..%2findex.html",
    ],
)
def test_parameters_are_narrow(path: str) -> None:
    """P12: an encoded slash is 400 where no parameter holds one, and so is text where a plain word is meant."""
    with pytest.raises(InvalidRequest) as refusal:
        _ask("GET", path)
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    "path", ["/models/custom_node%73", "/api/models/custom_nodes", "/experiment/models/custom_nodes"]
)
def test_custom_node_listing_is_denied(path: str) -> None:
    """Design §3: the list of every file of every node pack is denied, in every spelling."""
    assert _ask("GET", path).row.becomes is Becomes.DENY


def test_custom_routes() -> None:
    """Contract "Settings": a role's own routes are passed, for their method, under both prefixes, and no others."""
    rules = ("GET /vhs/queryvideo", "POST /pack/{name}/run")
    for path in ("/vhs/queryvideo", "/api/vhs/queryvideo", "/vhs/query%76ideo"):
        call = _ask("GET", path, extra_routes=rules)
        assert (call.row.becomes, call.row.needs, call.path) == (Becomes.PASS, "read", "/vhs/queryvideo")
    call = _ask("POST", "/pack/a%20b/run", extra_routes=rules)
    assert (call.row.needs, call.row.mutates, call.params) == ("submit", True, {"name": "a b"})
    for method, path in [("POST", "/vhs/queryvideo"), ("GET", "/vhs/queryvideo/x"), ("GET", "/api/api/vhs/queryvideo")]:
        with pytest.raises(RouteNotAllowed):
            _ask(method, path, extra_routes=rules)


def test_custom_routes_replace_nothing() -> None:
    """Default deny: a rule for a route that the table has, or for our own prefix, changes nothing."""
    rules = (
        "GET /models/custom_nodes",
        "POST /users",
        "POST /free",
        "GET /gateway/login",
        "GET /{a}/{a}",
        "nonsense",
        "",
    )
    assert _ask("GET", "/models/custom_nodes", extra_routes=rules).row.becomes is Becomes.DENY
    assert _ask("POST", "/users", extra_routes=rules).row.becomes is Becomes.DENY
    assert _ask("POST", "/free", extra_routes=rules).row.becomes is Becomes.ADMIN
    with pytest.raises(RouteNotAllowed):
        _ask("GET", "/gateway/login", extra_routes=rules)


def test_manager_may_act_on_get() -> None:
    """C04: the Manager's GET routes act (reboot), so they count as changing something."""
    assert _ask("GET", "/manager/reboot").row.mutates


def test_long_target() -> None:
    """P26: path and query together may have 8 KiB."""
    assert read("GET", b"/view", b"a" * (8192 - 6)).row.pattern == "/view"
    with pytest.raises(AddressTooLong):
        read("GET", b"/view", b"a" * (8192 - 5))


@pytest.mark.parametrize("query", [b"a=\x00", "a=é".encode(), b"a=1#x", b"a= b"])
def test_query_bytes(query: bytes) -> None:
    """P13: a query with bytes that must be encoded is 400 on every route."""
    with pytest.raises(InvalidRequest):
        read("GET", b"/view", query)
