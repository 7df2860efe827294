"""The one who asks."""

import dataclasses

import pytest

from gateway.identity.principal import Principal, Via

ANN = Principal(1, "ann", "member", frozenset({"read"}), "token", "k3m5n7qa", None)


@pytest.mark.parametrize(
    ("via", "is_cookie"), [("token", False), ("password", False), ("jwt", False), ("session", True)]
)
def test_only_a_session_is_a_cookie(via: Via, is_cookie: bool) -> None:
    """Only what a browser sends by itself needs a same-origin proof."""
    assert dataclasses.replace(ANN, via=via).is_cookie is is_cookie


@pytest.mark.parametrize("field", ["name", "user_id", "permissions"])
def test_a_principal_cannot_be_changed(field: str) -> None:
    """Nobody on the way can become somebody else."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(ANN, field, "bob")
