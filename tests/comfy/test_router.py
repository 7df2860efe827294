"""The table against the router that ComfyUI uses: what is authorised is what would be routed."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.comfy.table import Becomes, Call, read
from gateway.errors import GatewayError

OURS_ALONE = re.compile(
    r"/clear|/assets/\{path:rest\}|/(?:v2/)?(?:manager|customnode|snapshot|externalmodel|comfyui_manager)/.*"
)


async def _never(_: web.Request) -> web.Response:
    raise AssertionError("nothing is called here")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("web")


@pytest.fixture
def router(routes: list[tuple[str, str, str]], root: Path) -> web.UrlDispatcher:
    """ComfyUI's routes in the order in which it adds them: its own, the packs' and its folders, the web root last."""
    dispatcher = web.UrlDispatcher()
    for method, path, kind in routes:
        if kind != "static" and not (method == "HEAD" and ("GET", path, kind) in routes):
            # The one parameter that takes plain slashes too; the recorded list does not show it.
            path = path.replace("{path_index}/{filename}", "{path_index}/{filename:.*}")
            dispatcher.add_route(method, path, _never)
            if method == "GET":
                dispatcher.add_route("HEAD", path, _never)
    for path in ("/extensions/lab_slow", "/api/workflow_templates/lab_slow", "/templates", "/docs", "/"):
        dispatcher.add_static(path, root)
    return dispatcher


def _url(target: bytes) -> Any:
    """The address as ComfyUI's HTTP parser gives it to the router; None when the parser refuses it."""
    parser = HttpRequestParser(Mock(), Mock(), 2**16)
    try:
        messages, _, _ = parser.feed_data(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    except HttpProcessingError:
        return None
    return messages[0][0].url if messages else None


async def _routed(router: web.UrlDispatcher, method: str, target: bytes) -> tuple[str, dict[str, str]] | None:
    """The canonical pattern and parameters that ComfyUI's router finds."""
    url = _url(target)
    if url is None:
        return None
    request: Any = SimpleNamespace(method=method, rel_url=url)
    found = await router.resolve(request)
    if found.http_exception is not None or found.route.resource is None:
        return None
    return found.route.resource.canonical, dict(found)


def _called(method: str, target: bytes) -> Call | None:
    try:
        return read(method, target, b"")
    except GatewayError:
        return None


def _expected(call: Call, whole: str) -> set[str]:
    """The patterns to which the router may send what this row let through."""
    if call.row.static and call.path != "/":
        return {"", "/docs", "/templates", "/extensions/lab_slow", "/api/workflow_templates/lab_slow"}
    prefix = whole[: len(whole) - len(call.path)]
    return {prefix + re.sub(r":\w+\}", "}", call.row.pattern)}


PATTERNS = (
    "/prompt",
    "/api/prompt",
    "/queue",
    "/history/{}",
    "/api/history/{}",
    "/api/jobs/{}",
    "/api/api/jobs",
    "/api/jobs/{}/cancel",
    "/userdata/{}",
    "/api/userdata/{}/move/{}",
    "/models/{}",
    "/models/custom_nodes",
    "/experiment/models/preview/{}/0/{}",
    "/object_info/{}",
    "/internal/logs",
    "/internal/files/{}",
    "/settings/{}",
    "/view",
    "/ws",
    "/users",
    "/free",
    "/docs/{}/en.md",
    "/extensions/lab_slow/{}.js",
    "/{}.css",
    "/api/",
)
NAMES = st.sampled_from(
    ["a", "a.json", "custom_nodes", "x%2Fy.json", "a%20b", "%E4%BD%A0", "100%25", "a+b", "cancel", "x.y"]
)


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """A path of ComfyUI, then spelled and spoiled: escapes, slashes, dots, parameters, cases."""
    pattern = draw(st.sampled_from(PATTERNS))
    escaped = draw(st.sets(st.integers(0, len(pattern) - 1), max_size=3))
    spelled = "".join(
        f"%{ord(letter):02x}" if at in escaped and letter.isalnum() else letter for at, letter in enumerate(pattern)
    )
    while "{}" in spelled:
        spelled = spelled.replace("{}", draw(NAMES), 1)
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(spelled)))
        junk = draw(
            st.sampled_from(["/", ".", "..", "%2e", "%2f", "%25", ";x", "//", "%", "\\", "%5c", "%00", "#", "?", "X"])
        )
        spelled = spelled[:at] + junk + spelled[at:]
    return spelled.encode()


@given(method=st.sampled_from(["GET", "HEAD", "POST", "DELETE", "PATCH"]), target=targets())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=400)
async def test_authorised_is_what_is_routed(router: web.UrlDispatcher, method: str, target: bytes) -> None:
    """P32: for any target, the row that decides is the route that ComfyUI's router takes, with the same parameters."""
    call = _called(method, target)
    # What is denied goes nowhere; its rows are narrower than ComfyUI's on purpose.
    if call is None or call.row.becomes is Becomes.DENY or OURS_ALONE.fullmatch(call.row.pattern):
        return
    routed = await _routed(router, method, target)
    if routed is None:
        # Known here from another version: ComfyUI answers 404 or 405, and nothing happens.
        return
    pattern, params = routed
    whole = _url(target).path_safe.replace("%25", "%")
    if pattern == "" and method in (hdrs.METH_GET, hdrs.METH_HEAD) and not _registered(router, call, whole):
        return
    assert pattern in _expected(call, whole), (target, pattern, call.row.pattern)
    if not call.row.static:
        assert params == call.params
        assert params.get("folder") != "custom_nodes"


def _registered(router: web.UrlDispatcher, call: Call, whole: str) -> bool:
    known = {resource.canonical for resource in router.resources()}
    return bool(_expected(call, whole) & known)


async def test_spellings_reach_the_same_route(router: web.UrlDispatcher) -> None:
    """P04: the spellings that are read here as /prompt are those that ComfyUI takes for it."""
    for target in (b"/prompt", b"/%70rompt", b"/pr%6Fmpt"):
        assert await _routed(router, "POST", target) == ("/prompt", {})
    assert await _routed(router, "POST", b"/%61pi/prompt") == ("/api/prompt", {})
    assert await _routed(router, "POST", b"//prompt") is None
