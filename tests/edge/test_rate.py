"""Rates of the settings, as items of the library."""

from hypothesis import given
from hypothesis import strategies as st
from limits import parse_many

from gateway.config import checks
from gateway.edge.rate import rate

UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}


def texts() -> st.SearchStrategy[str]:
    """What somebody may write for a rate, right and wrong."""
    amount, units = st.integers(0, 200_000), st.one_of(st.just(""), st.integers(0, 90_000).map(str))
    unit = st.sampled_from([*UNITS, "month", "year", "week", ""])
    return st.builds(
        lambda *parts: "".join(map(str, parts)),
        amount,
        st.sampled_from(["/", " per ", " / ", ";"]),
        units,
        st.sampled_from(["", " "]),
        unit,
        st.sampled_from(["", "s"]),
    )


@given(texts())
def test_what_the_settings_accept_the_library_reads_alike(text: str) -> None:
    """A rate that the settings accept is one to the library, too, of the same meaning, and under the same key."""
    try:
        checks.rate(text)
    except ValueError:
        return
    (item,) = parse_many(text)
    ours = rate(text)
    assert (ours.amount, ours.get_expiry()) == (item.amount, item.get_expiry())
    assert 1 <= item.amount <= checks.MOST_OF_A_RATE and 1 <= item.get_expiry() <= UNITS["day"]
    assert ours.key_for("user:1", "view") == item.key_for("user:1", "view")


def test_words() -> None:
    """A rate can be said to a person."""
    assert [repr(rate(text)) for text in ("30/minute", "5/second", "100/10 seconds", "1/hour")] == [
        "30 in a minute",
        "5 in a second",
        "100 in 10 seconds",
        "1 in an hour",
    ]
