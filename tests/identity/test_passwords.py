"""Passwords and their hashes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.identity.passwords import MAX_LENGTH, Passwords

CHEAP = Passwords(memory_kib=64)


@given(st.text(min_size=1, max_size=100), st.text(max_size=100))
@settings(max_examples=30)
def test_a_password_verifies_and_no_other(password: str, other: str) -> None:
    """The right password is accepted, any other refused, in every alphabet."""
    stored = CHEAP.hash(password)
    assert CHEAP.verify(password, stored)
    assert other == password or not CHEAP.verify(other, stored)


def test_hashes_are_salted_argon2id() -> None:
    """The same password gives another hash each time, made by argon2id."""
    one, other = CHEAP.hash("pw"), CHEAP.hash("pw")
    assert one != other and one.startswith("$argon2id$")


def test_T24_nothing_of_a_long_password_is_cut_off() -> None:
    """T24: passwords that differ after 72 bytes, or in their last character of 1,024, are different."""
    start = "x" * (MAX_LENGTH - 1)
    stored = CHEAP.hash(start + "a")
    assert CHEAP.verify(start + "a", stored) and not CHEAP.verify(start + "b", stored)


def test_T24_a_megabyte_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """T24: a password of 1 MB is neither hashed nor verified."""
    passwords, stored = Passwords(memory_kib=64), CHEAP.hash("x")

    def forbidden(*_args: object, **_more: object) -> None:
        raise AssertionError("it was hashed")

    for name in ("hash", "verify"):
        monkeypatch.setattr(type(passwords._hasher), name, forbidden)
    with pytest.raises(ValueError, match="1024"):
        passwords.hash("x" * 1_000_000)
    assert not passwords.verify("x" * 1_000_000, stored)


def test_an_empty_password_is_none() -> None:
    """Nobody can set an empty password."""
    with pytest.raises(ValueError, match="empty"):
        CHEAP.hash("")


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=64,t=1,p=1$", "$2b$12$abc", "\x00", "ü"])
def test_a_damaged_hash_is_nobodys(stored: str) -> None:
    """What is no hash accepts no password, and raises nothing."""
    assert not CHEAP.verify("pw", stored)


def test_T21_an_unknown_name_costs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """T21: for a name that nobody has the same computation runs, with the same parameters, as for a wrong password."""
    passwords = Passwords(memory_kib=64)
    seen: list[str] = []
    verify = passwords._hasher.verify

    def watched(_self: object, stored: str, password: bytes) -> bool:
        seen.append(stored)
        return verify(stored, password)

    monkeypatch.setattr(type(passwords._hasher), "verify", watched)
    passwords.verify("wrong", passwords.hash("right"))
    passwords.verify_nothing("wrong")
    assert len(seen) == 2
    assert [stored.split("$")[1:4] for stored in seen] == [seen[0].split("$")[1:4]] * 2


def test_older_parameters_are_noticed() -> None:
    """A hash with other parameters than today's still verifies, and is to be made anew."""
    stored = CHEAP.hash("pw")
    stronger = Passwords(memory_kib=128)
    assert stronger.verify("pw", stored) and stronger.needs_rehash(stored) and not CHEAP.needs_rehash(stored)
