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


class UnreadableAnswer(UpstreamFault):
    """The server is there and answered, but nothing can be made of what it said."""


class AnswerTooLarge(UnreadableAnswer):
    """It says more than the gateway holds in memory."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A status and a body."""

    status: int
    body: bytes


async def whole_reply(client: httpx.AsyncClient, request: httpx.Request) -> Reply:
    """The whole answer to the request. Raises AnswerTooLarge for one over 64 MiB, and httpx's errors."""
    response = await client.send(request, stream=True)
    try:
        body = bytearray()
        async for piece in response.aiter_bytes():
            body += piece
            if len(body) > JSON_BYTES:
                raise AnswerTooLarge("ComfyUI's answer is too large.", reason=f"{request.url}: over {JSON_BYTES} bytes")
        return Reply(response.status_code, bytes(body))
    finally:
        await response.aclose()


def parsed(body: bytes, *, asked: str) -> Any:
    """JSON, strict first. ComfyUI writes NaN and Infinity where a node returned them or has them as a bound; they
    become null.

    Half a surrogate becomes `?`: core nodes (JsonExtractString into PreviewAny) put it into a history that must be read
    all the same, and one file whose name is not UTF-8 must not take a whole list away from everybody. Raises
    UnreadableAnswer, with `asked` in its reason.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        try:
            loose = json.loads(body, parse_constant=lambda _: None)
            return orjson.loads(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise UnreadableAnswer("ComfyUI's answer is not JSON.", reason=f"{asked}: {error}") from strict
