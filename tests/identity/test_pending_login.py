"""Logins that a browser has begun."""

import dataclasses

import pytest

from gateway.identity.jwt import Key, Keys
from gateway.identity.pending_login import SECONDS, NotPendingError, Pending, PendingLogins

NOW = 1_800_000_000.0
KEYS = Keys([Key("k1", bytes(range(32)))])
LOGINS = PendingLogins(KEYS)


def begun(provider: str = "company", *, next_address: str = "/x?y=1", byte: int = 1) -> Pending:
    return LOGINS.begin(provider, next_address=next_address, random=lambda size: bytes([byte]) * size, now=NOW)


def found(cookie: str, *, provider: str = "company", state: str, now: float = NOW) -> Pending:
    return LOGINS.find(cookie, provider=provider, state=state, now=now)


def test_what_was_begun_is_found() -> None:
    """Cookie and state together give back what was begun, until its time is over."""
    pending = begun()
    assert found(pending.cookie, state=pending.state, now=NOW + SECONDS - 1) == pending
    assert (pending.provider, pending.next) == ("company", "/x?y=1")
    with pytest.raises(NotPendingError, match="too long"):
        found(pending.cookie, state=pending.state, now=NOW + SECONDS)


def test_nothing_secret_is_in_the_cookie() -> None:
    """State, nonce and verifier differ, are long enough, differ for each login, and are not written in the cookie."""
    one, two = begun(), begun(byte=2)
    values = {one.state, one.nonce, one.verifier, two.state, two.nonce, two.verifier}
    assert len(values) == 6 and all(len(value) == 43 for value in values)
    assert not any(value in one.cookie + two.cookie for value in values)
    assert one.verifier not in repr(one) and one.cookie not in repr(one)


@pytest.mark.parametrize("state", ["", "x", "é", "\ud800", "A" * 43, "x" * 10_000])
def test_another_state_is_none(state: str) -> None:
    """A state that is not this browser's finishes nothing."""
    with pytest.raises(NotPendingError, match="another login"):
        found(begun().cookie, state=state)


def test_T08_logins_are_not_mixed() -> None:
    """The state of one login does not go with the cookie of another, nor with another provider."""
    mine, theirs = begun(), begun(byte=2)
    with pytest.raises(NotPendingError):
        found(mine.cookie, state=theirs.state)
    with pytest.raises(NotPendingError):
        found(mine.cookie, provider="other", state=mine.state)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text + "A",
        lambda text: "A" + text[1:],
        lambda text: text.replace(".", ""),
        lambda text: "." + text.partition(".")[2],
        lambda text: "é" + text,
        lambda text: "x" * 100_000,
        lambda text: "." * 3000,
    ],
)
def test_a_changed_cookie_is_none(change: object) -> None:
    """What we did not write in exactly this way is no cookie of ours."""
    pending = begun()
    assert callable(change)
    with pytest.raises(NotPendingError, match="none of ours"):
        found(change(pending.cookie), state=pending.state)


def test_another_key_seals_otherwise() -> None:
    """The cookie of another gateway, or of before a change of keys, is none of ours."""
    other = PendingLogins(Keys([Key("k2", bytes(range(1, 33)))]))
    pending = other.begin("company", next_address="/", random=lambda size: bytes(size), now=NOW)
    with pytest.raises(NotPendingError):
        found(pending.cookie, state=pending.state)
    assert dataclasses.is_dataclass(pending)
