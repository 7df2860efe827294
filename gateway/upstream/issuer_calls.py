"""Questions to the servers of other people's logins, over https. It does not know what the answers mean.

Each call has a client of its own, so there is nothing that a cancelled one could leave behind. Nobody is followed to
another address, no proxy or password of the environment is used, and no answer is longer than a set of keys needs.
"""

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx

from gateway.errors import IssuerUnavailable

SECONDS: Final = 10.0
CONNECT_SECONDS: Final = 5.0
MOST_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: `document` is its JSON, `date` what the server's clock says, where it says so."""

    status: int
    document: Any
    date: str | None


class IssuerCalls:
    """Asks. Certificates are those that the system trusts, or that OpenSSL's variables name (SSL_CERT_FILE)."""

    def __init__(self, *, seconds: float = SECONDS) -> None:
        self._seconds: Final = seconds
        self._tls: Final = ssl.create_default_context()

    async def get_json(self, url: str) -> object:
        """The document at an address, which is there. Raises IssuerUnavailable."""
        answer = await self.ask("GET", url)
        if answer.status != 200:
            raise IssuerUnavailable(f"{url}: status {answer.status}")
        return answer.document

    async def ask(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: str | None = None
    ) -> Answer:
        """The answer, whatever its status, if it is JSON. Raises IssuerUnavailable; its reason holds no secret."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._asked(method, url, dict(headers or {}), body)
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, TimeoutError, OSError) as error:
            raise IssuerUnavailable(f"{url}: {type(error).__name__} {error!s:.200}") from None
        except (ValueError, RecursionError) as error:
            raise IssuerUnavailable(f"{url}: no JSON: {type(error).__name__}") from None

    async def _asked(self, method: str, url: str, headers: dict[str, str], body: str | None) -> Answer:
        sent = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
        timeout = httpx.Timeout(self._seconds, connect=min(CONNECT_SECONDS, self._seconds))
        async with (
            httpx.AsyncClient(verify=self._tls, trust_env=False, follow_redirects=False, timeout=timeout) as client,
            client.stream(method, url, headers=sent, content=body) as answer,
        ):
            if answer.headers.get("content-encoding", "identity") != "identity":
                raise IssuerUnavailable(f"{url}: a compressed answer, which was not asked for")
            read = b""
            async for piece in answer.aiter_raw():
                read += piece
                if len(read) > MOST_BYTES:
                    raise IssuerUnavailable(f"{url}: more than {MOST_BYTES} bytes")
            return Answer(answer.status_code, json.loads(read.decode("utf-8")), answer.headers.get("date"))
