"""The run as two short Markdown tables: what the project promises first, then the figures behind it.

It does not know how anything was measured. The targets are ratios, because they hold on any machine.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench import events, gets, limits, prompts
from bench.figures import Row

SUBJECTS: Final = ("direct", "nginx", "Caddy", "gateway")


@dataclass(frozen=True, slots=True)
class Goal:
    """One promise: the gateway's figure in the row `what`, set against that of `other` by `compare`.

    `now` must hold today, `later` is what the design aims at; None where nothing is promised. `least` tells whether
    more is better.
    """

    title: str
    what: str
    other: str
    unit: str
    now: float | None
    later: float | None
    least: bool

    def measured(self, rows: Mapping[str, Row]) -> float | None:
        """The figure to compare with the targets, None when the row or the other subject is missing."""
        by = rows[self.what].by if self.what in rows else {}
        if "gateway" not in by or self.other not in by:
            return None
        return _COMPARE[self.unit](by["gateway"], by[self.other])


_COMPARE: Final[dict[str, Callable[[float, float], float]]] = {
    "x": lambda ours, others: ours / others,
    "ms": lambda ours, others: ours - others,
    "/s": lambda ours, _: ours,
    "µs": lambda ours, _: ours,
}

GOALS: Final = (
    Goal("small GET, gateway / nginx", gets.SMALL_RATE, "nginx", "x", 0.1, 0.4, True),
    Goal("small GET, gateway / Caddy", gets.SMALL_RATE, "Caddy", "x", 0.3, 1.0, True),
    Goal("small GET, added at 1 connection", gets.SMALL_LATENCY, "direct", "ms", None, 0.3, False),
    Goal("2 MB GET, gateway / nginx", gets.BIG_RATE, "nginx", "x", None, 0.6, True),
    Goal("2 MB GET, gateway / Caddy", gets.BIG_RATE, "Caddy", "x", None, None, True),
    Goal("POST /prompt, empty queue, added at 1 connection", prompts.EMPTY_LATENCY, "direct", "ms", None, 5.0, False),
    Goal("POST /prompt, long queue, added at 1 connection", prompts.LONG_LATENCY, "direct", "ms", None, 5.0, False),
    Goal("POST /prompt, from an empty queue, 8 clients", prompts.EMPTY_RATE, "direct", "/s", 50, 300, True),
    Goal("POST /prompt, long queue, 8 clients", prompts.LONG_RATE, "direct", "/s", 50, 300, True),
    Goal("an event to its client, added at p50", events.MEDIAN, "direct", "ms", None, None, False),
    Goal("an event to its client, added at p99", events.LATE, "direct", "ms", None, 2.0, False),
    Goal("rate limits, CPU of a request", limits.COST, "gateway", "µs", 30.0, 30.0, False),
)


def report(rows: Sequence[Row], *, heading: str, left_out: Sequence[str]) -> str:
    """The text to paste: targets, figures, and what is missing."""
    parts = [heading, "\n".join(_goal_table(rows)), "\n".join(_figure_table(rows))]
    if left_out:
        parts.append("\n".join(f"Left out: {line}." for line in left_out))
    return "\n\n".join(parts)


def _goal_table(rows: Sequence[Row]) -> Iterator[str]:
    known = {row.what: row for row in rows}
    yield _line("ratios and differences", "measured", "at this stage", "target")
    yield "|---|--:|--:|--:|"
    for goal in GOALS:
        measured = goal.measured(known)
        if measured is not None:
            targets = (_target(goal, bound, measured) for bound in (goal.now, goal.later))
            yield _line(goal.title, _figure(measured, goal.unit), *targets)


def _figure_table(rows: Sequence[Row]) -> Iterator[str]:
    """A column only for those who were measured at all."""
    there = [subject for subject in SUBJECTS if any(subject in row.by for row in rows)]
    yield _line("figures", "unit", *there)
    yield f"|---|---|{'--:|' * len(there)}"
    for row in rows:
        yield _line(row.what, row.unit, *(_plain(row.by.get(subject)) for subject in there))


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _target(goal: Goal, bound: float | None, measured: float) -> str:
    if bound is None:
        return "-"
    holds = measured >= bound if goal.least else measured <= bound
    return f"{'≥' if goal.least else '≤'} {bound:g}{_suffix(goal.unit)} {'✓' if holds else '✗'}"


def _figure(value: float, unit: str) -> str:
    return f"**{_plain(value)}{_suffix(unit)}**"


def _suffix(unit: str) -> str:
    return f" {unit}" if unit in ("ms", "x", "µs") else unit


def _plain(value: float | None) -> str:
    """Three figures are more than a run on a shared machine can tell."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
