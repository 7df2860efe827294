"""What a user name can be."""

import pytest

from gateway.errors import InvalidRequest
from gateway.identity.names import MOST, is_name, require_login
from gateway.identity.passwords import MAX_LENGTH


@pytest.mark.parametrize("text", ["a", "7", "Alice", "alice@example.org", "a.b_c-d", "a" * MOST])
def test_names(text: str) -> None:
    """Letters, digits and four signs, up to 64."""
    assert is_name(text)


@pytest.mark.parametrize("text", ["", ".a", "-a", "a b", "ä", "a\n", "a\x00", "a/b", "a" * (MOST + 1), "\ud800"])
def test_no_names(text: str) -> None:
    """Nothing else is a name."""
    assert not is_name(text)


@pytest.mark.parametrize("name", ["a\x00b", "a\nb", "a\x7fb", "a\x85b", "a\u2028b", "x" * (MOST + 1), "x" * 1_000_000])
def test_T23_logins_that_nobody_means(name: str) -> None:
    """T23: a name that is too long or has a control character is refused, in words that do not repeat it."""
    with pytest.raises(InvalidRequest) as refused:
        require_login(name, "password")
    assert name not in str(refused.value.body("id"))


@pytest.mark.parametrize("password", ["", "x" * (MAX_LENGTH + 1)])
def test_T24_passwords_that_nobody_means(password: str) -> None:
    """T24: no password, or one that is too long, is refused before anything is computed with it."""
    with pytest.raises(InvalidRequest):
        require_login("alice", password)


@pytest.mark.parametrize("name", ["", "no name", "älice", "alice"])
def test_what_may_be_asked(name: str) -> None:
    """A name that nobody can have is no malformed request: whether somebody has it is not for the form to say."""
    require_login(name, "p")
    require_login(name, "x" * MAX_LENGTH)
