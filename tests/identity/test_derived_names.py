"""Names for people who come from elsewhere."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.derived_names import proposals
from gateway.identity.names import is_name


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (["ann"], "ann"),
        (["ann@example.org"], "ann@example.org"),
        (["Jörg Müller"], "Jorg-Muller"),
        (["", "  ", "bob"], "bob"),
        (["../../etc"], "etc"),
        (["x" * 100], "x" * 64),
        (["日本", "nihon"], "nihon"),
        ([], "user-1"),
        (["日本"], "user-1"),
    ],
)
def test_the_first_name_is_the_own_one(names: list[str], first: str) -> None:
    """Somebody's own name as far as it can be one; the last resort for who has none."""
    assert next(proposals(names, otherwise="user-1")) == first


def test_a_taken_name_has_numbers_behind_it() -> None:
    """After the own names come numbered ones, then the last resort; they end."""
    offered = list(proposals(["ann", "ann@example.org"], otherwise="user-1"))
    assert offered[:4] == ["ann", "ann@example.org", "ann-2", "ann-3"]
    assert offered[-1] == "user-1" and len(offered) < 120
    assert all(len(name) <= 64 for name in proposals(["x" * 100], otherwise="user-1"))


@given(st.lists(st.text(max_size=100), max_size=3))
def test_every_proposal_can_be_a_name(names: list[str]) -> None:
    """Whatever others call somebody, what is proposed is a name here."""
    assert all(is_name(name) for name in islice(proposals(names, otherwise="user-1"), 10))
