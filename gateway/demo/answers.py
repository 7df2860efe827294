"""Answers whose bodies a fault can get at: cut half way, or let trickle.

It does not know which fault is on.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

_SECOND_PARTS = 20


class FileAnswer(web.FileResponse):
    """A file, with Range and If-None-Match as aiohttp answers them, that remembers which file it is."""

    def __init__(self, source: Path, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(source, headers=headers)
        self.source = source


def body_of(request: web.Request, answer: web.StreamResponse) -> bytes | None:
    """The bytes this answer would send; None when they cannot be known (sockets, static files, HEAD)."""
    if request.method == "HEAD":
        return None
    if isinstance(answer, FileAnswer):
        return _ranged(request, answer)
    body = answer.body if isinstance(answer, web.Response) else None
    return bytes(body) if isinstance(body, bytes | bytearray) else None


def _ranged(request: web.Request, answer: FileAnswer) -> bytes:
    """The part of the file that is asked for; sets status and Content-Range as aiohttp would."""
    whole = answer.source.read_bytes()
    wanted = request.http_range
    if wanted.start is None and wanted.stop is None:
        return whole
    start, stop, _ = wanted.indices(len(whole))
    answer.set_status(206)
    answer.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(whole)}"
    return whole[start:stop]


async def begin(request: web.Request, answer: web.StreamResponse, body: bytes) -> web.StreamResponse:
    """Send the head of an answer, its Content-Length included, and nothing of the body."""
    begun = web.StreamResponse(status=answer.status, headers=_headers(answer))
    begun.content_length = len(body)
    await begun.prepare(request)
    return begun


def _headers(answer: web.StreamResponse) -> dict[str, Any]:
    return {name: value for name, value in answer.headers.items() if name.lower() != "content-length"}


async def trickle(begun: web.StreamResponse, body: bytes, *, bytes_per_second: float) -> web.StreamResponse:
    """Send a body in small parts, evenly."""
    for part in _parts(body, max(1, int(bytes_per_second / _SECOND_PARTS))):
        await begun.write(part)
        await asyncio.sleep(len(part) / bytes_per_second)
    await begun.write_eof()
    return begun


def _parts(body: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
