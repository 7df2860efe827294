"""What is asked: one method and one address, looked up in the closed table of ComfyUI's routes.

It does not know who asks, nor whether they may. The decision is made on the canonical path; the raw path, which is what
is sent on, is only ever accepted when both mean the same route.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from gateway.comfy.paths import MAX_TARGET, SLASH, canonical
from gateway.comfy.query import query_values, require_sendable
from gateway.comfy.rows import TABLE, Becomes, Permission, RateClass, Row, completed
from gateway.errors import AddressTooLong, InvalidRequest, MethodNotAllowed, NotFound, RouteNotAllowed

__all__ = ["TABLE", "Becomes", "Call", "Permission", "RateClass", "Row", "query_values", "read"]

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_NOTHING: Mapping[str, str] = MappingProxyType({})
_PARAMETERS = {
    "": "[^{}/]+",
    ":rest": ".+",
    # Single files in the root of the editor; anything else up there may be a node pack's own route.
    ":file": r"[A-Za-z0-9][A-Za-z0-9_.-]*\.(?:css|html|ico|jpe?g|js|json|map|png|svg|txt|webmanifest|webp|woff2?)",
}
_PARAMETER = re.compile(r"\{(?P<name>[A-Za-z_]\w*)(?P<kind>:rest|:file)?\}", re.ASCII)
_SIMPLE = re.compile(r"[A-Za-z0-9_~!$&'()*+,/:@=.-]*")


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the table reads it: `method` and `raw_path` are the client's, `path` is canonical, no `/api`."""

    method: str
    raw_path: bytes
    query: bytes
    path: str
    row: Row
    params: Mapping[str, str]


def read(method: str, raw_path: bytes, query: bytes, *, extra_routes: Collection[str] = ()) -> Call:
    """Find the row for a request; HEAD is allowed wherever GET is.

    `extra_routes` are the custom routes of the caller's role ("GET /vhs/queryvideo"); they cannot replace a row.
    Raises InvalidRequest (400, 414), NotFound, RouteNotAllowed with the rule to add, MethodNotAllowed with `Allow`.
    """
    if len(raw_path) + len(query) >= MAX_TARGET:
        raise AddressTooLong("The address is longer than 8 KiB.", extra_info={"limit": MAX_TARGET})
    if query:
        require_sendable(query)
    known = _LITERAL_RAW.get((method, raw_path))
    if known is not None:
        row, path = known
        return Call(method, raw_path, query, path, row, _NOTHING)
    return _read_path(method, raw_path, query, extra_routes)


def _read_path(method: str, raw_path: bytes, query: bytes, extra_routes: Collection[str]) -> Call:
    whole = canonical(raw_path)
    if method not in METHODS:
        raise MethodNotAllowed("ComfyUI has no such method.", headers={"Allow": ", ".join(METHODS)})
    lookup = "GET" if method == "HEAD" else method
    allowed: set[str] = set()
    for found in _matches(whole):
        if found.row.method == lookup:
            return Call(method, raw_path, query, found.path, found.row, _params(found))
        allowed.add(found.row.method)
    custom = _custom(lookup, whole, extra_routes)
    if custom is not None:
        return Call(method, raw_path, query, custom.path, custom.row, _params(custom))
    if allowed:
        raise MethodNotAllowed("ComfyUI has this address, with another method.", headers={"Allow": _allow(allowed)})
    raise _unknown(lookup, whole)


@dataclass(frozen=True, slots=True)
class _Match:
    row: Row
    path: str
    groups: Mapping[str, str]


def _matches(whole: str) -> Iterator[_Match]:
    """Every row with this path, literal ones first; ComfyUI's router too goes on when one lacks the method."""
    for row, path in _LITERAL.get(whole, ()):
        yield _Match(row, path, _NOTHING)
    for prefix in ("/api/api", "/api", ""):
        if whole.startswith(f"{prefix}/"):
            yield from _open_matches(prefix, whole[len(prefix) :])


def _open_matches(prefix: str, path: str) -> Iterator[_Match]:
    first = path.split("/", 2)[1]
    for row in (*_OPEN.get(first, ()), *_OPEN[""]):
        if prefix in row.prefixes:
            match = _compiled(row.pattern).fullmatch(path)
            if match is not None:
                yield _Match(row, path, match.groupdict())


def _params(found: _Match) -> Mapping[str, str]:
    """The parameters, slashes decoded. Raises InvalidRequest for text that the row does not take there."""
    row = found.row
    simple = _SIMPLE.fullmatch(found.path.replace(SLASH, "/")) is not None
    if not simple and not row.free:
        raise InvalidRequest("The path holds a character that this address does not take.")
    if SLASH in found.path and not row.slash:
        raise InvalidRequest("The path holds an encoded slash.")
    # ComfyUI's static folders hold files with an extension; what has none is a folder, or a pack's own route.
    if row.static and "." not in found.path.rsplit("/", 1)[1] and found.path != "/":
        raise NotFound("There is no such file.")
    return {name: value.replace(SLASH, "/") for name, value in found.groups.items()}


def _custom(method: str, whole: str, extra_routes: Collection[str]) -> _Match | None:
    """The role's own rule for a node pack's route. The pack has it under both prefixes."""
    prefix = "/api" if whole.startswith("/api/") else ""
    path = whole[len(prefix) :]
    for rule in extra_routes:
        wanted, _, pattern = rule.partition(" ")
        match = _compiled(pattern).fullmatch(path) if wanted == method else None
        if match is not None and not whole.startswith("/gateway/"):
            return _Match(_custom_row(method, pattern), path, match.groupdict())
    return None


@lru_cache(maxsize=1024)
def _custom_row(method: str, pattern: str) -> Row:
    return completed(Row(method, pattern, Becomes.PASS, free=True))


def _unknown(method: str, whole: str) -> Exception:
    if not _SIMPLE.fullmatch(whole):
        return InvalidRequest("The path holds a character that this address does not take.")
    if method == "GET" and any(whole.startswith(head) or f"{whole}/" == head for head in _STATIC_HEADS):
        return NotFound("There is no such file.")
    path = whole.removeprefix("/api") if whole.startswith("/api/") else whole
    rule = f"{method} {path[:200]}"
    return RouteNotAllowed(
        "The gateway does not know this address of ComfyUI, so it is closed.",
        details=f'An administrator can open it for a role in the settings: routes = ["{rule}"]',
        extra_info={"rule": rule},
    )


def _allow(methods: set[str]) -> str:
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


@lru_cache(maxsize=2048)
def _compiled(pattern: str) -> re.Pattern[str]:
    """The pattern as an expression; if an administrator's rule names a parameter twice, only the first has the name."""
    pieces: list[str] = []
    names: set[str] = set()
    last = 0
    for parameter in _PARAMETER.finditer(pattern):
        name, what = parameter["name"], _PARAMETERS[parameter["kind"] or ""]
        pieces.append(re.escape(pattern[last : parameter.start()]))
        pieces.append(f"({what})" if name in names else f"(?P<{name}>{what})")
        names.add(name)
        last = parameter.end()
    return re.compile("".join(pieces) + re.escape(pattern[last:]))


def _index() -> tuple[dict[str, list[tuple[Row, str]]], dict[str, list[Row]]]:
    """Rows without parameters by their whole path, the others by their first segment ("" when that is a parameter)."""
    literal: dict[str, list[tuple[Row, str]]] = {}
    by_first: dict[str, list[Row]] = {"": []}
    for row in TABLE:
        first = row.pattern.split("/", 2)[1]
        if "{" in row.pattern:
            by_first.setdefault("" if "{" in first else first, []).append(row)
            continue
        for prefix in row.prefixes:
            literal.setdefault(prefix + row.pattern, []).append((row, row.pattern))
    return literal, by_first


_LITERAL, _OPEN = _index()
_LITERAL_RAW = {
    (method, whole.encode()): (row, path)
    for whole, rows in _LITERAL.items()
    for row, path in rows
    for method in ((row.method, "HEAD") if row.method == "GET" else (row.method,))
}
_STATIC_HEADS = tuple(
    prefix + row.pattern.split("{", 1)[0]
    for row in TABLE
    if row.static and row.pattern.count("/") > 1
    for prefix in row.prefixes
)
