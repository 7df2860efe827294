"""Templates and static files of the pages, and the headers of every page. It does not know what a page is about."""

from importlib.resources import files
from typing import Any, Final

from fastapi.responses import HTMLResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

_POLICY: Final = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: with that a browser sends `Origin: null` with our own forms, which proves nothing.
    "Referrer-Policy": "same-origin",
}
_TYPES: Final = {"css": "text/css; charset=utf-8", "svg": "image/svg+xml"}

_templates: Final = Environment(
    loader=PackageLoader("gateway.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_static: Final = {
    file.name: file.read_bytes() for file in (files("gateway.web") / "static").iterdir() if "." in file.name
}


def page(template: str, *, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A page that nobody but its reader keeps."""
    html = _templates.get_template(f"{template}.html").render(**values)
    return HTMLResponse(html, status, headers={"Cache-Control": "no-store", **_HEADERS, **(headers or {})})


def static_file(name: str) -> Response | None:
    """One of the files that come with the pages; no other name reaches the file system."""
    content = _static.get(name)
    if content is None:
        return None
    media_type = _TYPES.get(name.rpartition(".")[2], "application/octet-stream")
    return Response(content, headers={"Cache-Control": "public, max-age=3600", **_HEADERS}, media_type=media_type)
