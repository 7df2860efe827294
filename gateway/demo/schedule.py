"""The order in which the nodes of a prompt run.

It does not know what they compute, only links and what need not run because it is cached.
"""

from collections.abc import Callable
from typing import Any

from gateway.demo.cache import is_link

_FAR = 3


class Schedule:
    """The nodes still to run. An output is always visited, cached or not; anything else only when it is not cached."""

    def __init__(
        self, prompt: dict[str, Any], *, is_cached: Callable[[str], bool], is_output: Callable[[str], bool]
    ) -> None:
        self._prompt = prompt
        self._is_cached = is_cached
        self._is_output = is_output
        self._waits_for: dict[str, set[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._waits_for)

    def add(self, node_id: str) -> None:
        """Plan a node and what must run before it; of several inputs, the last is planned first."""
        unplanned = [node_id]
        while unplanned:
            one = unplanned.pop()
            if one in self._waits_for:
                continue
            links = (value[0] for value in self._prompt[one]["inputs"].values() if is_link(value))
            needed = [source for source in links if not self._is_cached(source)]
            self._waits_for[one] = set(needed)
            unplanned += needed

    def pick(self) -> str:
        """The next node: of those that are ready, the one nearest to an output, so that pictures appear early."""
        ready = [node_id for node_id, blockers in self._waits_for.items() if not blockers]
        return min(ready, key=self._distance)

    def done(self, node_id: str) -> None:
        """Take a node off the plan."""
        del self._waits_for[node_id]
        for blockers in self._waits_for.values():
            blockers.discard(node_id)

    def _distance(self, node_id: str) -> int:
        front = {node_id}
        for distance in range(_FAR):
            if any(self._is_output(one) for one in front):
                return distance
            front = {after for after, blockers in self._waits_for.items() if blockers & front}
        return _FAR
