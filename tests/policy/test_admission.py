"""Who of those that somebody else knows may come in, and as what."""

from typing import Any

import pytest

from gateway.config import Admission, TokenIssuer
from gateway.errors import NotAdmitted
from gateway.identity.vouched import Vouched
from gateway.policy.admission import Admitted, admit


def ann(*groups: str, email: str | None = "ann@example.org") -> Vouched:
    return Vouched("https://login.example", "u-1", ("ann",), email, groups, 0.0)


def rules(**more: Any) -> TokenIssuer:
    return TokenIssuer(issuer="https://login.example", audience=("x",), **{"create_users": False, **more})


def test_roles_come_from_groups() -> None:
    """The first group of the table that somebody is in gives the role; everybody else has the default one."""
    table = {"admins": "admin", "artists": "artist"}
    said = rules(roles=table, default_role="guest")
    assert admit(ann("artists", "admins"), said) == Admitted("admin", "admin", ("artists", "admins"), create=False)
    assert admit(ann("artists"), said).role == "artist"
    for nobody in (ann(), ann("Admins"), ann("admins "), ann("admin")):
        assert admit(nobody, said).role == "guest"


def test_without_a_table_the_role_is_an_administrators_to_give() -> None:
    """Where no group gives a role, a user keeps the one that they have; a new one gets the default."""
    admitted = admit(ann("admins"), rules(create_users=True, allowed_domains=("*",)))
    assert (admitted.role, admitted.first_role, admitted.create) == (None, "member", True)


@pytest.mark.parametrize(
    "email",
    [
        None,
        "",
        "example.org",
        "@example.org",
        "ann@",
        "ann@evil.example",
        "ann@badexample.org",
        "ann@sub.example.org",
        "ann@example.org.evil.example",
        "ann@evil.example@example.org",
        "ann@example.org@evil.example",
        "ann@example.org ",
        "ann@ example.org",
        "ann@example.org\x00",
        "ann@example.org,b@evil.example",
        "ann@\u0435xample.org",
    ],
)
def test_a_domain_is_compared_whole(email: str | None) -> None:
    """Neither a subdomain nor a look-alike nor a second “@” is in an allowed domain; nor is nobody's address."""
    with pytest.raises(NotAdmitted):
        admit(ann(email=email), rules(allowed_domains=("example.org",)))


@pytest.mark.parametrize("email", ["ann@example.org", "ANN@EXAMPLE.ORG", "ann+x@other.example"])
def test_an_allowed_domain(email: str) -> None:
    """A verified address in one of the domains, in any case, lets somebody in."""
    assert admit(ann(email=email), rules(allowed_domains=("example.org", "other.example")))


def test_everybody_has_to_be_said() -> None:
    """With “*” nobody needs an address."""
    assert admit(ann(email=None), rules(allowed_domains=("*",)))


def test_allowed_groups_and_domains_count_both() -> None:
    """One of the groups is needed, and where domains are listed, one of them as well."""
    both = rules(allowed_groups=("staff", "guests"), allowed_domains=("example.org",))
    assert admit(ann("guests"), both)
    for nobody in (ann(), ann("Staff"), ann("staff", email="ann@evil.example")):
        with pytest.raises(NotAdmitted) as refused:
            admit(nobody, both)
        assert "u-1" in refused.value.reason and "u-1" not in refused.value.message + refused.value.details
    header = Admission(allowed_groups=("staff",))
    assert admit(ann("staff", email=None), header).create
    with pytest.raises(NotAdmitted):
        admit(ann(), header)
