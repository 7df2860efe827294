"""How long a run takes: rounds, seconds and sizes. It does not know what they are spent on."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """`waiting` is the length of the long queue, `sockets` how many are open at the gateway besides the measured one,
    `frames` how many events one round takes.
    """

    rounds: int
    get_seconds: float
    post_seconds: float
    waiting: int
    sockets: int
    frames: int


WHOLE: Final = Plan(rounds=3, get_seconds=2, post_seconds=1.5, waiting=200, sockets=499, frames=400)
QUICK: Final = Plan(rounds=1, get_seconds=1, post_seconds=0.3, waiting=10, sockets=10, frames=40)
