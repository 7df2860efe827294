"""The one who asks."""

import dataclasses

import pytest

from gateway.identity.principal import Principal, Via

ANN = Principal(1, "ann", "member", frozenset({"read"}), "token", "k3m5n7qa", None)


@pytest.mark.parametrize(
    ("via", "is_cookie", "is_ambient"),
    [
        ("token", False, False),
        ("password", False, False),
        ("jwt", False, False),
        ("sso", False, False),
        ("session", True, True),
        ("header", False, True),
        ("network", False, True),
    ],
)
def test_what_comes_along_by_itself(via: Via, is_cookie: bool, is_ambient: bool) -> None:
    """A session, a proxy's header and a network come along whoever has written the page that asks; the rest is sent."""
    found = dataclasses.replace(ANN, via=via)
    assert (found.is_cookie, found.is_ambient) == (is_cookie, is_ambient)


@pytest.mark.parametrize("field", ["name", "user_id", "permissions"])
def test_a_principal_cannot_be_changed(field: str) -> None:
    """Nobody on the way can become somebody else."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(ANN, field, "bob")
