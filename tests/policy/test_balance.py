"""What is left of a limit, in headers."""

from gateway.policy.balance import Balance


def test_whoever_waits_as_told_does_not_come_too_early() -> None:
    """Seconds are rounded up, and never 0."""
    assert [Balance(5, 0, seconds).whole_seconds for seconds in (0.0, -1.0, 0.2, 1.0, 1.01, 59.3)] == [
        1,
        1,
        1,
        1,
        2,
        60,
    ]


def test_a_refusal_says_what_an_answer_says_and_when_to_come_back() -> None:
    """The fields of a refusal are those of an answer, and Retry-After."""
    left = Balance(30, 0, 11.5)
    refusal = {name.lower(): value for name, value in left.refusal_headers().items()}
    assert {**{name.decode(): value.decode() for name, value in left.fields()}, "retry-after": "12"} == refusal
