"""What is left of a limit, as the headers that say so. It does not know what is limited, nor how it is counted."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Balance:
    """`remaining` of `limit` may still come; in `seconds` there will be more."""

    limit: int
    remaining: int
    seconds: float

    @property
    def whole_seconds(self) -> int:
        """So many that whoever waits them does not come too early; at least 1."""
        return max(1, math.ceil(self.seconds))

    def fields(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that was not refused, in lower case."""
        return [
            (b"ratelimit-limit", b"%d" % self.limit),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % self.whole_seconds),
        ]

    def refusal_headers(self) -> dict[str, str]:
        """The headers of a refusal, for a GatewayError."""
        return {
            "Retry-After": str(self.whole_seconds),
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.whole_seconds),
        }
