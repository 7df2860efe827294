"""The one door at which everything is counted."""

from typing import Any

import pytest
from limits import parse

from gateway.config import AddressRates, Rates, Role, TokenRates
from gateway.edge.counters import Counters
from gateway.edge.door import Door
from gateway.errors import LockedOut, NotFound, StoreUnavailable, TooMany, Unauthenticated
from gateway.identity.principal import Principal, Via
from tests.edge.test_windows import Clock

CLASSES = tuple(Rates.model_fields)
ONCE = Rates(**dict.fromkeys(CLASSES, "1/minute"))
HTML = [(b"accept", b"text/html"), (b"sec-fetch-mode", b"navigate")]


def principal(user_id: int = 1, *, via: Via = "token", credential_id: str | None = "abcdefgh") -> Principal:
    return Principal(user_id, f"user{user_id}", "member", frozenset({"read"}), via, credential_id, None)


def request(ip: str = "1.2.3.4", headers: list[tuple[bytes, bytes]] | None = None, **about: Any) -> dict[str, Any]:
    gateway = {"client_ip": ip, "principal": None, "carried": False, "added": [], **about}
    return {"type": "http", "method": "GET", "headers": headers or [], "gateway": gateway}


def door(clock: Clock, rates: Rates = ONCE, token_rates: TokenRates | None = None, **by_address: str) -> Door:
    role = Role(permissions=frozenset({"read"}), rates=rates, token_rates=token_rates or TokenRates())
    return Door(Counters(clock), limits_of=lambda _principal: role, by_address=AddressRates(**by_address))


async def is_refused(one: Door, who: Principal, rate_class: Any = "default", **more: Any) -> bool:
    try:
        await one.user(who, rate_class, **more)
    except TooMany:
        return True
    return False


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_a_refusal_says_everything(clock: Clock) -> None:
    """It names the class, the limit, the current value and when to come back, in words, fields and headers; it is
    ComfyUI's shape for /prompt, which the editor shows as its own dialog."""
    one = door(clock, Rates(submit="2/minute"))
    await one.user(principal(), "submit")
    clock.now += 48.5
    await one.user(principal(), "submit")
    with pytest.raises(TooMany) as caught:
        await one.user(principal(), "submit")
    error = caught.value
    assert error.body("id") == {
        "error": {
            "type": "rate_limited",
            "message": "You are submitting jobs too fast: at most 2 in a minute. Try again in 12 seconds.",
            "details": "Wait 12 seconds.",
            "extra_info": {
                "class": "submit",
                "per": "user",
                "limit": 2,
                "window_seconds": 60,
                "current": 2,
                "retry_after_seconds": 12,
            },
        },
        "node_errors": {},
        "request_id": "id",
    }
    assert error.headers == {
        "Retry-After": "12",
        "RateLimit-Limit": "2",
        "RateLimit-Remaining": "0",
        "RateLimit-Reset": "12",
    }
    clock.now += 12
    await one.user(principal(), "submit")


async def test_what_is_let_through_says_what_is_left(clock: Clock) -> None:
    """The answer gets RateLimit fields; not those of static files, which are kept by browsers."""
    one, scope = door(clock, Rates(poll="5/minute")), request()
    await one.user(principal(), "poll", scope)
    assert scope["gateway"]["added"] == [
        (b"ratelimit-limit", b"5"),
        (b"ratelimit-remaining", b"4"),
        (b"ratelimit-reset", b"60"),
    ]
    await one.user(principal(), "static", static := request())
    assert static["gateway"]["added"] == []


async def test_who_asks_too_often_still_gets_what_the_rate_allows(clock: Clock) -> None:
    """Refused requests do not count: a script that never waits is served as often as one that does."""
    one = door(clock, Rates(poll="10/second"))
    served = 0
    for _ in range(1000):
        clock.now += 0.01
        served += not await is_refused(one, principal(), "poll")
    assert 95 <= served <= 110


async def test_R04_all_tokens_of_a_user_are_one(clock: Clock) -> None:
    """Another token, a session or a password of the same user is no new start; another user is another."""
    one = door(clock)
    assert not await is_refused(one, principal())
    for other in (
        principal(credential_id="zzzzzzzz"),
        principal(via="session", credential_id="0" * 32),
        principal(via="password", credential_id=None),
    ):
        assert await is_refused(one, other)
    assert not await is_refused(one, principal(2))


async def test_R09_classes_are_independent(clock: Clock) -> None:
    """Whoever has used up one class still has every other."""
    one = door(clock)
    for rate_class in CLASSES:
        assert not await is_refused(one, principal(), rate_class)
    for rate_class in CLASSES:
        assert await is_refused(one, principal(), rate_class)


async def test_a_token_may_have_less_than_its_user(clock: Clock) -> None:
    """With rates for tokens one token cannot use up what its user has; what was got with it counts for it."""
    one = door(clock, Rates(poll="5/minute"), TokenRates(poll="2/minute"))
    script = principal(credential_id="abcdefgh")
    bought = principal(via="jwt", credential_id=f"{'0' * 32}-abcdefgh")
    assert [await is_refused(one, who, "poll") for who in (script, bought, script, bought)] == [
        False,
        False,
        True,
        True,
    ]
    with pytest.raises(TooMany) as caught:
        await one.user(script, "poll")
    assert caught.value.extra_info["per"] == "token"
    # The refused ones cost the user nothing: three of five are left, for other credentials.
    browser = principal(via="session", credential_id="1" * 32)
    assert [await is_refused(one, browser, "poll") for _ in range(4)] == [False, False, False, True]
    assert not await is_refused(one, script, "submit")


async def test_the_headers_speak_of_what_ends_first(clock: Clock) -> None:
    """Of the user's and the token's allowance the smaller one is said."""
    one, scope = door(clock, Rates(poll="50/minute"), TokenRates(poll="20/minute")), request()
    await one.user(principal(), "poll", scope)
    assert dict(scope["gateway"]["added"])[b"ratelimit-remaining"] == b"19"


async def test_R04_slowapi_and_the_door_have_one_counter(clock: Clock) -> None:
    """What FastAPI answers is counted by slowapi's check, under the same key as everything else."""
    one = door(clock, Rates(default="3/minute"))
    for is_route in (True, False, True):
        assert not await is_refused(one, principal(), is_route=is_route)
    assert await is_refused(one, principal(), is_route=True) and await is_refused(one, principal())
    assert not await is_refused(one, principal(2), is_route=True)


async def test_slowapi_is_configured_by_our_settings_only(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Variables of slowapi's own cannot switch the limits off."""
    monkeypatch.setenv("RATELIMIT_ENABLED", "false")
    monkeypatch.setenv("RATELIMIT_STORAGE_URL", "nonsense://")
    one = door(clock)
    assert not await is_refused(one, principal(), is_route=True)
    assert await is_refused(one, principal(), is_route=True)


async def test_R06_an_ipv6_neighbourhood_is_one(clock: Clock) -> None:
    """All addresses of a /64 count together; the next /64 and IPv4 do not."""
    one = door(clock, page="2/minute")
    await one.address(request("2001:db8::1"), "page")
    await one.address(request("2001:db8::2"), "page")
    with pytest.raises(TooMany):
        await one.address(request("2001:db8::ffff:3"), "page")
    await one.address(request("2001:db8:0:1::3"), "page")
    await one.address(request("1.2.3.4"), "page")
    await one.address(request(""), "page")


async def test_strangers_learn_that_they_come_too_often(clock: Clock) -> None:
    """After so many refusals of an address each further one is 429; what is not the stranger's fault does not count."""
    one = door(clock, anonymous="3/minute")
    for error in (Unauthenticated("Log in."), NotFound("No."), Unauthenticated("Log in.")):
        assert await one.stranger(request(), error) is error
        for innocent in (StoreUnavailable("Down."), LockedOut("Wait.")):
            assert await one.stranger(request(), innocent) is innocent
    said = await one.stranger(request(), Unauthenticated("Log in."))
    assert isinstance(said, TooMany) and said.extra_info["class"] == "anonymous"
    known = request(principal=principal())
    for scope in (request("9.9.9.9"), known):
        error = Unauthenticated("Log in.")
        assert await one.stranger(scope, error) is error


async def test_a_person_is_sent_to_the_login_page_whatever_scripts_do(clock: Clock) -> None:
    """Who opens a page is not held up by requests without a credential from the same address, and is counted, too."""
    one, error = door(clock, anonymous="1/minute", page="2/minute"), Unauthenticated("Log in.")
    for _ in range(5):
        await one.stranger(request(), error)
    assert await one.stranger(request(headers=HTML), error) is error
    assert await one.stranger(request(headers=HTML), error) is error
    assert isinstance(await one.stranger(request(headers=HTML), error), TooMany)


async def test_R12_ordinary_clients_are_never_refused(clock: Clock) -> None:
    """With the defaults: ten clients of one user that each poll ten times a second for five minutes, a page of the
    editor with 440 files in three tabs at once, a hundred prompts at once, 500 thumbnails."""
    one = door(clock, Rates())
    for _ in range(3 * 440):
        await one.user(principal(), "static")
    for _ in range(100):
        await one.user(principal(), "submit")
    for _ in range(500):
        await one.user(principal(), "view")
    for _ in range(5 * 60 * 10):
        clock.now += 0.1
        for _ in range(10):
            await one.user(principal(), "poll")


def test_the_names_of_the_classes_agree() -> None:
    """A role and its tokens have a rate for each class, and the defaults are rates."""
    assert set(Rates.model_fields) == set(TokenRates.model_fields)
    for values in (Rates(), AddressRates()):
        assert all(parse(getattr(values, name)) for name in type(values).model_fields)
