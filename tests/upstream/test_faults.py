"""Each exception of the engines has a meaning of ours."""

import inspect
from types import ModuleType

import httpx
import pytest
import websockets.exceptions

from gateway.errors import NobodyThere, NoServer, UpstreamFault, UpstreamTimeout
from gateway.upstream.faults import VERDICTS, translated


def exceptions(*modules: ModuleType) -> list[type[BaseException]]:
    """The public exceptions of these modules, warnings left out."""
    members = (
        getattr(module, name, None) for module in modules for name in getattr(module, "__all__", None) or dir(module)
    )
    found = {member for member in members if inspect.isclass(member) and issubclass(member, BaseException)}
    theirs = {cls for cls in found if not issubclass(cls, Warning) and cls.__module__ != "builtins"}
    return sorted(theirs, key=lambda cls: f"{cls.__module__}.{cls.__name__}")


@pytest.mark.parametrize("cls", exceptions(httpx), ids=lambda cls: cls.__name__)
def test_every_public_exception_of_httpx_has_a_verdict_of_its_own(cls: type[BaseException]) -> None:
    """A test walks the vendor's exceptions and fails when one has no translation."""
    assert cls in VERDICTS


@pytest.mark.parametrize("name", websockets.exceptions.__all__)
def test_every_public_exception_of_websockets_is_one_that_the_socket_translates(name: str) -> None:
    """The event socket catches what websockets raises by its root."""
    assert issubclass(getattr(websockets.exceptions, name), websockets.exceptions.WebSocketException)


@pytest.mark.parametrize("cls", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError])
def test_no_failure_of_a_connection_is_unsent_because_httpx_says_so(cls: type[httpx.TransportError]) -> None:
    """ "Never sent" is given only where no byte can have left, and that only our own engine knows."""
    assert translated(cls("")).sent is True


@pytest.mark.parametrize(
    ("error", "expected", "sent"),
    [
        (httpx.UnsupportedProtocol(""), NoServer, False),
        (httpx.InvalidURL(""), NoServer, False),
        (httpx.ReadTimeout(""), UpstreamTimeout, True),
        (TimeoutError(), UpstreamTimeout, True),
        (httpx.DecodingError(""), UpstreamFault, True),
        (httpx.StreamConsumed(), UpstreamFault, True),
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
    ours = translated(httpx.ReadError("Cannot read from 10.1.2.3:8188"))
    assert "10.1.2.3" in ours.reason
    assert "10.1.2.3" not in str(ours.body("id"))
    assert not isinstance(ours, NobodyThere)
