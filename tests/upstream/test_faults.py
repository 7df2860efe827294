"""Each exception of the engines has a meaning of ours."""

import inspect
from types import ModuleType

import aiohttp
import httpx
import pytest
import websockets.exceptions
from aiohttp import client_exceptions, http_exceptions

from gateway.errors import NobodyThere, NoServer, UpstreamFault, UpstreamTimeout
from gateway.upstream.faults import VERDICTS, Verdict, translated, verdict


def exceptions(*modules: ModuleType) -> list[type[BaseException]]:
    """The public exceptions of these modules, warnings left out."""
    members = (
        getattr(module, name, None) for module in modules for name in getattr(module, "__all__", None) or dir(module)
    )
    found = {member for member in members if inspect.isclass(member) and issubclass(member, BaseException)}
    theirs = {cls for cls in found if not issubclass(cls, Warning) and cls.__module__ != "builtins"}
    return sorted(theirs, key=lambda cls: f"{cls.__module__}.{cls.__name__}")


# Raised only by parts of aiohttp that the gateway does not use: its upload tracker, its websockets, its queues.
UNUSED = {"UploadAbortedError", "WebSocketError", "EofStream"}
ENGINE = [cls for cls in exceptions(aiohttp, client_exceptions, httpx) if cls.__name__ not in UNUSED]


@pytest.mark.parametrize("cls", ENGINE, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_public_exception_of_the_engines_has_a_verdict_of_its_own(cls: type[BaseException]) -> None:
    """A test walks the vendor's exceptions and fails when one has no translation."""
    assert cls in VERDICTS


@pytest.mark.parametrize("cls", exceptions(http_exceptions), ids=lambda cls: cls.__name__)
def test_every_exception_of_the_http_parser_is_a_broken_answer(cls: type[BaseException]) -> None:
    """What the parser refuses had been sent and answered, so it is never taken for unsent."""
    assert verdict(cls.__new__(cls)) is Verdict.BROKEN


@pytest.mark.parametrize("name", websockets.exceptions.__all__)
def test_every_public_exception_of_websockets_is_one_that_the_socket_translates(name: str) -> None:
    """The event socket catches what websockets raises by its root."""
    assert issubclass(getattr(websockets.exceptions, name), websockets.exceptions.WebSocketException)


def test_a_lost_connection_is_sent_although_httpx_calls_it_a_connect_timeout() -> None:
    """ "Never sent" is given only where no byte can have left."""
    error = httpx.ConnectTimeout("")
    error.__cause__ = aiohttp.ServerDisconnectedError()
    assert translated(error).sent is True


@pytest.mark.parametrize(
    ("error", "expected", "sent"),
    [
        (aiohttp.ConnectionTimeoutError(), NoServer, False),
        (httpx.PoolTimeout(""), NoServer, False),
        (aiohttp.SocketTimeoutError(), UpstreamTimeout, True),
        (TimeoutError(), UpstreamTimeout, True),
        (aiohttp.ClientPayloadError(), UpstreamFault, True),
        (aiohttp.ServerDisconnectedError(), UpstreamFault, True),
        (ConnectionResetError(), UpstreamFault, True),
    ],
)
def test_the_error_says_what_may_have_reached_comfyui(
    error: BaseException, expected: type[UpstreamFault], sent: bool
) -> None:
    """A refused or unanswered connection is NoServer and unsent, silence UpstreamTimeout, everything else a fault."""
    ours = translated(error)
    assert (type(ours), ours.sent) == (expected, sent)


def test_the_engines_words_stay_in_the_log() -> None:
    """A client never learns the address of a ComfyUI."""
    ours = translated(aiohttp.ClientOSError(104, "Cannot write to 10.1.2.3:8188"))
    assert "10.1.2.3" in ours.reason
    assert "10.1.2.3" not in str(ours.body("id"))
    assert not isinstance(ours, NobodyThere)
