"""Answers to the gateway's own calls: small, held whole, and JSON.

It does not know what is asked.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from gateway.errors import UpstreamFault

# The largest that ComfyUI is known to send is /object_info, of 2 MB and with many node packs of 10.
JSON_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a body."""

    status: int
    body: bytes


async def whole_reply(client: httpx.AsyncClient, request: httpx.Request) -> Reply:
    """Send the request and read the answer to its end. Raises UpstreamFault for one over 64 MiB, and httpx's errors."""
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > JSON_BYTES:
                raise UpstreamFault("ComfyUI's answer is too large.", reason=f"{request.url}: over {JSON_BYTES} bytes")
        return Reply(response.status_code, bytes(body))
    finally:
        await response.aclose()


def parsed(body: bytes, *, asked: str) -> Any:
    """JSON, strict first. ComfyUI writes NaN and Infinity where a node returned them; they become null.

    Raises UpstreamFault, with `asked` in its reason.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        try:
            value = json.loads(body, parse_constant=lambda _: None)
            orjson.dumps(value)  # refuses lone surrogates, which no answer of ours could carry
        except (ValueError, TypeError, RecursionError) as error:
            raise UpstreamFault("ComfyUI's answer is not JSON.", reason=f"{asked}: {error}") from strict
        return value
