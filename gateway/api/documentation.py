"""The control plane's documentation: its OpenAPI document, and the same as a page to read, for whoever is logged in.

It does not know what the routes do. The page is made here, because the usual ones load their scripts from other hosts.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

_METHODS: Final = ("get", "post", "put", "patch", "delete")
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

_template: Final = Environment(
    loader=PackageLoader("gateway.api"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
).get_template("docs.html")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one address, as the page shows it."""

    method: str
    path: str
    description: str
    fields: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, str], ...]


def add_documentation(app: FastAPI, *, require_login: Callable[[Request], Awaitable[object]]) -> None:
    """Serve `/gateway/openapi.json` and `/gateway/docs`; `require_login` raises the refusal of whoever is not."""

    async def openapi(request: Request) -> Response:
        await require_login(request)
        return JSONResponse(app.openapi(), headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"})

    async def docs(request: Request) -> Response:
        await require_login(request)
        document = app.openapi()
        return HTMLResponse(_template.render(info=document["info"], operations=operations(document)), headers=_HEADERS)

    for path, endpoint in (("/gateway/openapi.json", openapi), ("/gateway/docs", docs)):
        app.add_api_route(path, endpoint, methods=["GET", "HEAD"], include_in_schema=False)


def operations(document: Mapping[str, Any]) -> tuple[Operation, ...]:
    """What an OpenAPI document says, flat."""
    return tuple(
        Operation(
            method=method.upper(),
            path=path,
            description=item[method].get("description", item[method].get("summary", "")),
            fields=tuple(_fields(item[method], document)),
            answers=tuple((status, answer["description"]) for status, answer in item[method]["responses"].items()),
        )
        for path, item in document["paths"].items()
        for method in _METHODS
        if method in item
    )


def _fields(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Parameters, and the fields of a form or JSON body: name, and what it is."""
    for parameter in operation.get("parameters", ()):
        yield parameter["name"], parameter.get("description", parameter["in"])
    for content_type, content in operation.get("requestBody", {}).get("content", {}).items():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        schema = document["components"]["schemas"].get(name, content["schema"])
        for field in schema.get("properties", {}):
            needed = "required" if field in schema.get("required", ()) else "optional"
            yield field, f"{needed}, {content_type}"
