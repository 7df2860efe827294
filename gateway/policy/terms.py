"""On which terms a user's jobs run: what the queue, the clock and the books need to know of a role.

It does not know jobs, nor who has which role.
"""

from dataclasses import dataclass

from gateway.config import Role
from gateway.policy.budgets import Budget, budgets
from gateway.policy.fairness import Standing


@dataclass(frozen=True, slots=True)
class Terms:
    """The limits of one user that are about GPU time; None is no limit."""

    weight: float = 1.0
    priority: int = 0
    max_running: int | None = None
    max_job_seconds: int | None = None
    budgets: tuple[Budget, ...] = ()

    def standing(self, virtual_ms: float) -> Standing:
        """Where the user stands in the fair queue."""
        return Standing(virtual_ms, self.weight, self.priority, self.max_running)


def terms(role: Role) -> Terms:
    """The terms of a role."""
    return Terms(
        weight=role.weight,
        priority=role.priority,
        max_running=role.max_running,
        max_job_seconds=role.max_job_seconds,
        budgets=budgets(role),
    )
