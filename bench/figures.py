"""Figures: medians of interleaved rounds, and quantiles. It does not know what was measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median

Sample = tuple[float, ...]
"""What one round of one subject gives."""


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was measured, in one unit, for each subject that was there ("direct", "nginx", …)."""

    what: str
    unit: str
    by: Mapping[str, float]


def interleaved(measures: Mapping[str, Callable[[], Sample]], *, rounds: int) -> dict[str, Sample]:
    """Measure one subject after the other, all of them again in each round, so that a slow minute of the machine hits
    all alike; the median of each figure.
    """
    taken: dict[str, list[Sample]] = {subject: [] for subject in measures}
    for _ in range(rounds):
        for subject, measure in measures.items():
            taken[subject].append(measure())
    return {subject: medians(samples) for subject, samples in taken.items()}


def medians(samples: Iterable[Sample]) -> Sample:
    """Figure by figure."""
    return tuple(median(figures) for figures in zip(*samples, strict=True))


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, ceil(len(ordered) * share) - 1)]


def rows(taken: Mapping[str, Sample], *named: tuple[str, str]) -> list[Row]:
    """One row for each figure of the samples; `named` gives what each is, and its unit."""
    return [
        Row(what, unit, {subject: sample[place] for subject, sample in taken.items()})
        for place, (what, unit) in enumerate(named)
    ]
