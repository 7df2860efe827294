"""What is taken from claims and headers, and what is not."""

from typing import Any

import pytest

from gateway.identity.issuer_jwt import Signed
from gateway.identity.segments import InvalidJwt
from gateway.identity.vouched import MOST_GROUPS, Vouched, from_claims, from_headers, with_user_info

ISSUER = "https://login.example"


def taken(*, groups_claim: str = "groups", subject_claim: str = "sub", **claims: Any) -> Vouched:
    signed = Signed(ISSUER, "RS256", 100.0, 200.0, {"sub": "u-1", **claims})
    names = ("preferred_username", "email")
    return from_claims(signed, subject_claim=subject_claim, name_claims=names, groups_claim=groups_claim)


def test_somebody_is_the_subject() -> None:
    """Who somebody is, is issuer and subject; names are what the claims say, in the settings' order."""
    ann = taken(preferred_username="ann", email="ann@example.org", email_verified=True, groups=["a", "b"])
    names = ("ann", "ann@example.org")
    assert ann == Vouched(ISSUER, "u-1", names, "ann@example.org", ("a", "b"), 100.0)
    assert taken(preferred_username=5, email=["x"]).names == ()
    assert taken(oid="0-1", subject_claim="oid").subject == "0-1"
    with pytest.raises(InvalidJwt):
        taken(subject_claim="oid")


@pytest.mark.parametrize("verified", [None, False, "false", "True", 1, "yes", []])
def test_an_address_counts_only_where_it_is_verified(verified: Any) -> None:
    """Without the issuer's word that it is verified, an e-mail address is nobody's."""
    assert taken(email="ann@example.org", email_verified=verified).email is None
    assert taken(email="ann@example.org", email_verified="true").email == "ann@example.org"


@pytest.mark.parametrize(
    ("value", "groups"),
    [
        (None, ()),
        ("staff", ("staff",)),
        (["a", "a", "b"], ("a", "b")),
        ([1, None, {"x": 1}, "", "x" * 257, "a"], ("a",)),
        ({"a": 1}, ()),
        (5, ()),
        (True, ()),
    ],
)
def test_groups_are_names(value: Any, groups: tuple[str, ...]) -> None:
    """A list of names, or one name; whatever else is there gives nobody anything."""
    assert taken(groups=value).groups == groups


def test_groups_stand_where_the_settings_say() -> None:
    """A claim is found by its whole name, also with dots and slashes, or by the way into objects."""
    claims = {"https://example.org/groups": ["a"], "realm_access": {"roles": ["b"]}, "x.y": ["c"]}
    assert taken(groups_claim="https://example.org/groups", **claims).groups == ("a",)
    assert taken(groups_claim="realm_access.roles", **claims).groups == ("b",)
    assert taken(groups_claim="x.y", **claims).groups == ("c",)
    assert taken(groups_claim="realm_access.roles.x", **claims).groups == ()
    assert len(taken(groups=[str(number) for number in range(5000)]).groups) == MOST_GROUPS


def test_user_info_adds_and_overrules_nothing() -> None:
    """What was signed counts more; an address is not verified by the word about another one."""
    told = with_user_info({"sub": "u-1", "groups": ["a"]}, {"sub": "u-1", "groups": ["admins"], "name": "Ann"})
    assert told == {"sub": "u-1", "groups": ["a"], "name": "Ann"}
    mixed = with_user_info({"sub": "u-1", "email": "ann@a.org"}, {"sub": "u-1", "email": "b", "email_verified": True})
    assert mixed == {"sub": "u-1", "email": "ann@a.org"}
    for other in ({}, {"sub": "u-2"}, {"sub": None}):
        with pytest.raises(InvalidJwt):
            with_user_info({"sub": "u-1"}, other)


def test_what_a_proxy_says() -> None:
    """The header's value, to the letter, is the subject, and its name the issuer; groups are separated by commas."""
    ann = from_headers("ann@example.org", "a, b ,,a", header="X-Forwarded-User", now=5.0)
    assert ann == Vouched("header:x-forwarded-user", "ann@example.org", ("ann@example.org",), None, ("a", "b"), 5.0)
    for odd in ("", "ann, bob", "a b", "../ann", "ann\x00", "\xe4nn", "x" * 300):
        assert from_headers(odd, None, header="X-Forwarded-User", now=5.0) is None
