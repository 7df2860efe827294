"""What roles and credentials permit."""

from types import MappingProxyType

import pytest

from gateway.comfy.table import TABLE, Becomes, Call, Row
from gateway.config import Role
from gateway.errors import Forbidden, RouteNotAllowed
from gateway.identity.principal import Principal
from gateway.policy.access import decide, permissions, require

MEMBER = Role(permissions=frozenset({"read", "submit"}))
ADMIN = Role(permissions=frozenset({"read", "submit", "admin"}))


def principal(*granted: str) -> Principal:
    return Principal(1, "alice", "member", frozenset(granted), via="token", credential_id="t", expires_at=None)


def call(row: Row) -> Call:
    return Call(row.method, row.pattern.encode(), b"", row.pattern, row, MappingProxyType({}))


@pytest.mark.parametrize(
    ("role", "scopes", "expected"),
    [
        (MEMBER, None, {"read", "submit"}),
        (ADMIN, None, {"read", "submit", "admin"}),
        (MEMBER, {"read"}, {"read"}),
        (MEMBER, {"read", "admin"}, {"read"}),
        (ADMIN, {"admin"}, {"admin"}),
        (ADMIN, set(), set()),
        (None, None, set()),
        (None, {"read"}, set()),
    ],
)
def test_T29_scopes_only_take_away(role: Role | None, scopes: set[str] | None, expected: set[str]) -> None:
    """A credential permits what its role permits and its scopes name; a role that is gone permits nothing."""
    assert permissions(role, None if scopes is None else frozenset(scopes)) == expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.pattern}")
def test_every_row_is_decided(row: Row) -> None:
    """Whoever may everything is refused denied rows only; whoever may nothing is refused every row."""
    if row.becomes is Becomes.DENY:
        with pytest.raises(RouteNotAllowed):
            decide(principal("read", "submit", "admin"), call(row))
    else:
        decide(principal("read", "submit", "admin"), call(row))
    with pytest.raises(Forbidden):
        decide(principal(), call(row))


@pytest.mark.parametrize("row", [row for row in TABLE if row.becomes is Becomes.ADMIN], ids=lambda row: row.pattern)
def test_P27_admin_rows(row: Row) -> None:
    """What is for administrators is refused to members."""
    with pytest.raises(Forbidden):
        decide(principal("read", "submit"), call(row))


@pytest.mark.parametrize(
    "row", [row for row in TABLE if row.method != "GET"], ids=lambda row: f"{row.method} {row.pattern}"
)
def test_T28_a_token_that_may_only_read(row: Row) -> None:
    """A credential with the scope `read` alone changes nothing."""
    with pytest.raises(Forbidden):
        decide(principal("read"), call(row))


def test_the_refusal_names_the_permission() -> None:
    """The client learns which permission is missing, the log who lacked it."""
    with pytest.raises(Forbidden) as caught:
        require(principal("read"), "submit")
    assert caught.value.extra_info == {"permission": "submit"}
    assert "alice" in caught.value.reason and "alice" not in caught.value.message
