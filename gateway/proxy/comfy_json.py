"""JSON as ComfyUI writes it, made JSON that every client can read.

It does not know what it says.
"""

import json
from typing import Any

import orjson

from gateway.errors import UpstreamFault


def comfy_json(body: bytes, *, asked: str) -> Any:
    """The value, strict first. Raises UpstreamFault, with `asked` in its reason.

    ComfyUI writes Infinity where a node has it as a bound, which becomes null, and lone surrogates for file names that
    are not UTF-8, which become question marks: one such file must not take a whole list away from everybody.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as strict:
        try:
            loose = json.loads(body, parse_constant=lambda _: None)
            return orjson.loads(json.dumps(loose, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise UpstreamFault("ComfyUI's answer is not JSON.", reason=f"{asked}: {error}") from strict
