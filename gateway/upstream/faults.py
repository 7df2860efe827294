"""What a failed request means to the gateway: never sent, sent and broken, or sent and silent.

It does not know which request failed, nor what its caller will do about it.

"Never sent" is a promise on which a submit is tried again, so it is given only where no byte can have left. Our own
engine raises these errors itself; an exception of httpx, which stands on top of it, that is not named here gets the
verdict of its nearest named ancestor.
"""

import errno
import re
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType

import httpx

from gateway.errors import NobodyThere, NoServer, UpstreamFault, UpstreamTimeout

_ERRNO = re.compile(r"\[Errno (\d+)\]")
BROKE_OFF = "ComfyUI broke off the connection."
_NOT_ASKED = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class Unanswered(UpstreamFault):
    """The connection ended before a byte of an answer came. A kept one may have been closing when it was taken."""


class Verdict(Enum):
    """What can be said about a request whose engine raised."""

    NEVER_SENT = auto()
    BROKEN = auto()
    SILENT = auto()


def _verdicts() -> dict[type[BaseException], Verdict]:
    """The table, spelled out class by class so that a test can see when httpx grows a new one."""
    never_sent: tuple[type[BaseException], ...] = (
        httpx.UnsupportedProtocol,
        httpx.InvalidURL,
        httpx.CookieConflict,
    )
    silent: tuple[type[BaseException], ...] = (
        httpx.TimeoutException,
        httpx.ReadTimeout,
        httpx.WriteTimeout,
        TimeoutError,
    )
    broken: tuple[type[BaseException], ...] = (
        # Names of what our engine never lets httpx see: they are not trusted with "never sent".
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ProxyError,
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
    )
    groups = {Verdict.NEVER_SENT: never_sent, Verdict.SILENT: silent, Verdict.BROKEN: broken}
    return {cls: verdict for verdict, classes in groups.items() for cls in classes}


VERDICTS: Mapping[type[BaseException], Verdict] = MappingProxyType(_verdicts())
FAULTS: tuple[type[BaseException], ...] = tuple(VERDICTS)


def verdict(error: BaseException) -> Verdict:
    """What an exception of `FAULTS` says about its request."""
    return next(VERDICTS[cls] for cls in type(error).__mro__ if cls in VERDICTS)


def translated(error: BaseException) -> UpstreamFault:
    """Our error for one of `FAULTS`; httpx's words go to the log only, because they name the server's address."""
    reason = f"{type(error).__name__}: {error}"
    match verdict(error):
        case Verdict.NEVER_SENT:
            return no_server(reason)
        case Verdict.SILENT:
            return silent(reason)
        case Verdict.BROKEN:
            return broken(reason)


def broken(reason: str) -> UpstreamFault:
    """The request, or a part of it, went out, and no whole answer came back."""
    return UpstreamFault(BROKE_OFF, sent=True, reason=reason)


def lost(reason: str, *, answered: bool) -> UpstreamFault:
    """The connection ended too early; `answered` is whether anything of an answer had come."""
    return broken(reason) if answered else Unanswered(BROKE_OFF, sent=True, reason=reason)


def silent(reason: str) -> UpstreamTimeout:
    """The request went out, and nothing came back for too long."""
    return UpstreamTimeout("ComfyUI did not answer in time.", sent=True, reason=reason)


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
