"""What each exception of the HTTP engines means to the gateway: never sent, sent and broken, or sent and silent.

It does not know which request failed, nor what its caller will do about it.

"Never sent" is a promise on which a submit is tried again, so it is given only where no byte can have left. An
engine's exception that is not named here gets the verdict of its nearest named ancestor.
"""

import errno
import re
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

import aiohttp
import httpx
from aiohttp import http_exceptions

from gateway.errors import NobodyThere, NoServer, UpstreamFault, UpstreamTimeout
from gateway.upstream.clean import PollutedConnection

_ERRNO = re.compile(r"\[Errno (\d+)\]")
_NOT_ASKED = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Verdict(Enum):
    """What can be said about a request whose engine raised."""

    NEVER_SENT = auto()
    BROKEN = auto()
    SILENT = auto()


def _verdicts() -> dict[type[BaseException], Verdict]:
    """The table, spelled out class by class so that a test can see when an engine grows a new one."""
    never_sent: tuple[type[BaseException], ...] = (
        aiohttp.ConnectionTimeoutError,  # also raised when the pool had no free connection in time
        aiohttp.ClientConnectorError,
        aiohttp.ClientConnectorDNSError,
        aiohttp.ClientConnectorCertificateError,
        aiohttp.ClientConnectorSSLError,
        aiohttp.ClientSSLError,
        aiohttp.ClientProxyConnectionError,
        aiohttp.client_exceptions.UnixClientConnectorError,
        aiohttp.ServerFingerprintMismatch,
        PollutedConnection,
        aiohttp.InvalidURL,
        aiohttp.InvalidUrlClientError,
        aiohttp.InvalidUrlRedirectClientError,
        aiohttp.NonHttpUrlClientError,
        aiohttp.NonHttpUrlRedirectClientError,
        aiohttp.RedirectClientError,
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
        httpx.CookieConflict,
    )
    silent: tuple[type[BaseException], ...] = (
        aiohttp.ServerTimeoutError,
        aiohttp.SocketTimeoutError,
        httpx.TimeoutException,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        TimeoutError,
    )
    broken: tuple[type[BaseException], ...] = (
        aiohttp.ClientError,
        aiohttp.ClientConnectionError,
        aiohttp.ClientConnectionResetError,
        aiohttp.ClientOSError,
        aiohttp.ClientPayloadError,
        aiohttp.ClientResponseError,
        aiohttp.ClientHttpProxyError,
        aiohttp.ContentTypeError,
        aiohttp.ServerConnectionError,
        aiohttp.ServerDisconnectedError,
        aiohttp.TooManyRedirects,
        aiohttp.WSServerHandshakeError,
        aiohttp.WSMessageTypeError,
        http_exceptions.HttpProcessingError,
        httpx.HTTPError,
        httpx.RequestError,
        httpx.TransportError,
        httpx.NetworkError,
        httpx.ReadError,
        httpx.WriteError,
        httpx.CloseError,
        httpx.ProtocolError,
        httpx.LocalProtocolError,
        httpx.RemoteProtocolError,
        httpx.DecodingError,
        httpx.TooManyRedirects,
        httpx.HTTPStatusError,
        httpx.StreamError,
        httpx.StreamConsumed,
        httpx.StreamClosed,
        httpx.ResponseNotRead,
        httpx.RequestNotRead,
        OSError,
    )
    groups = {Verdict.NEVER_SENT: never_sent, Verdict.SILENT: silent, Verdict.BROKEN: broken}
    return {cls: verdict for verdict, classes in groups.items() for cls in classes}


VERDICTS: Mapping[type[BaseException], Verdict] = MappingProxyType(_verdicts())
FAULTS: tuple[type[BaseException], ...] = tuple(VERDICTS)


def verdict(error: BaseException) -> Verdict:
    """What an engine's exception says about its request."""
    return next(VERDICTS[cls] for cls in type(_original(error)).__mro__ if cls in VERDICTS)


def translated(error: BaseException) -> UpstreamFault:
    """Our error for one of `FAULTS`; the engine's words go to the log only, because they name the server's address."""
    original = _original(error)
    reason = f"{type(original).__name__}: {original}"
    match verdict(original):
        case Verdict.NEVER_SENT:
            cause = original.os_error if isinstance(original, aiohttp.ClientConnectorError) else original
            return no_server(reason, refused=is_refusal(cause))
        case Verdict.SILENT:
            return UpstreamTimeout("ComfyUI did not answer in time.", sent=True, reason=reason)
        case Verdict.BROKEN:
            return UpstreamFault("ComfyUI broke off the connection.", sent=True, reason=reason)


def is_refusal(error: BaseException) -> bool:
    """Whether the host itself says that nobody listens, at every address that it has.

    A name may stand for several addresses (`localhost` for ::1 and 127.0.0.1). asyncio reports their failures as one
    OSError without a number, in whose text the numbers are; an address that this machine cannot use was not asked.
    """
    if isinstance(error, ConnectionRefusedError):
        return True
    numbers = {int(number) for number in _ERRNO.findall(str(error))} if isinstance(error, OSError) else set()
    return errno.ECONNREFUSED in numbers and numbers <= {errno.ECONNREFUSED, *_NOT_ASKED}


def no_server(reason: str, *, refused: bool = False) -> NoServer:
    """Nothing was sent, because nobody answers there; `refused` when the host itself says that nobody listens."""
    return (NobodyThere if refused else NoServer)(
        "No ComfyUI server can be reached.",
        details="Try again in a moment.",
        headers={"Retry-After": "5"},
        reason=reason,
        sent=False,
    )


def _original(error: BaseException) -> BaseException:
    """The engine's own exception; httpx's wrapping of aiohttp's counts only when there is nothing below it.

    httpx-aiohttp calls every lost connection a ConnectTimeout, also one that was lost long after the request had
    gone out, so its names must never be trusted with "never sent".
    """
    cause = error.__cause__
    return cause if isinstance(error, httpx.HTTPError) and isinstance(cause, FAULTS) else error
