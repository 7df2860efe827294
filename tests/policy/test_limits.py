"""Limits of single users over those of their role."""

import pytest

from gateway.config import Role
from gateway.policy.limits import LIMITS, overridden, parse_limit

MEMBER = Role(permissions=frozenset({"read"}), max_running=1, routes=("GET /vhs/queryvideo",))


def test_an_override_counts_instead_of_the_roles() -> None:
    """What a user has of their own counts, the role's for all else; `none` lifts a limit."""
    role, problems = overridden(MEMBER, {"weight": 2, "max_queued": 5, "max_running": None})
    assert problems == ()
    assert (role.weight, role.max_queued, role.max_running) == (2.0, 5, None)
    assert (role.permissions, role.routes) == (MEMBER.permissions, MEMBER.routes)
    assert overridden(MEMBER, {}) == (MEMBER, ())


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("permissions", ["admin"], "is no limit; there are weight"),
        ("nodes", {"allow": ["*"]}, "is no limit"),
        ("bogus", 1, "is no limit"),
        ("max_queued", 0, "max_queued: Input should be greater"),
        ("max_queued", None, "max_queued: Input should be a valid integer"),
        ("max_queued", "many", "max_queued: Input should be a valid integer"),
        ("weight", 1e999, "weight: "),
        ("max_queued.x", 1, "max_queued.x: Input should be"),
    ],
)
def test_what_no_role_may_have_is_left_out(name: str, value: object, words: str) -> None:
    """An override that is no limit, or that a role could not have, is said and left out, and the others count."""
    role, problems = overridden(MEMBER, {name: value, "max_sockets": 3})
    assert len(problems) == 1 and words in problems[0]
    assert role == MEMBER.model_copy(update={"max_sockets": 3})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("max_queued=5", ("max_queued", 5)),
        (" weight = 0.5 ", ("weight", 0.5)),
        ("max_running=none", ("max_running", None)),
        ("rates.submit=5/minute", ("rates.submit", "5/minute")),
    ],
)
def test_limits_as_an_administrator_writes_them(text: str, read: tuple[str, object]) -> None:
    """NAME=VALUE, with a number, a text, or `none`."""
    assert parse_limit(text) == read


@pytest.mark.parametrize("text", ["", "weight", "=1", "weight="])
def test_anything_else_is_refused(text: str) -> None:
    """What is not NAME=VALUE is refused in words."""
    with pytest.raises(ValueError, match="is not NAME=VALUE"):
        parse_limit(text)


def test_every_number_of_a_role_is_a_limit() -> None:
    """Limits are all that a role has but for what it may do."""
    assert {"weight", "priority", "max_queued", "max_running", "max_upload_mb", "user_data_mb"} <= set(LIMITS)
