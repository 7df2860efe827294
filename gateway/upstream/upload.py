"""A request body on its way up: measured, watched for standstill, and remembered if it fails.

It does not know where the pieces come from or what they are.
"""

import asyncio
from collections.abc import AsyncIterator

from gateway.errors import InvalidRequest


class Upload:
    """The pieces of one body; `length` is None for one that goes out chunked.

    A body that fails takes its connection with it; `failure` keeps what really happened, so that a client that left or
    sent too much is not taken for a broken ComfyUI.
    """

    def __init__(self, pieces: AsyncIterator[bytes], *, length: int | None, idle_timeout: float | None) -> None:
        self.length = length
        self.failure: Exception | None = None
        self._pieces = pieces
        self._idle_timeout = idle_timeout
        self._deadline: asyncio.Timeout | None = None

    def deadline(self) -> asyncio.Timeout:
        """A time-out for ComfyUI: to take a piece, and to answer behind the last. Not for the source of the pieces."""
        self._deadline = asyncio.timeout(self._idle_timeout)
        return self._deadline

    def answered(self) -> None:
        """The answer has begun; from here on the time-out of its body counts."""
        self._deadline = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        try:
            self._stop_clock()
            async for piece in self._pieces:
                seen += len(piece)
                if self.length is not None and seen > self.length:
                    break  # what is over the length would be the next request to ComfyUI
                if piece:  # an empty chunk would be the end of the body, and the rest of it the next request
                    self._start_clock()
                    yield piece
                    self._stop_clock()
            self._start_clock()
            if self.length is not None and seen != self.length:
                raise InvalidRequest("The request body is not as long as declared.", reason=f"{seen} of {self.length}")
        except Exception as failure:
            self.failure = failure
            raise

    def _start_clock(self) -> None:
        if self._deadline is not None and self._idle_timeout is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._idle_timeout)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.reschedule(None)
