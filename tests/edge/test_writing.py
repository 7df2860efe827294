"""How an answer is written."""

import asyncio

from gateway.edge.writing import MOST_JOINED, AnswerTransport


class Recorded(asyncio.Transport):
    """Remembers what was written and whether it was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.writes.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.writes


def answer_on(recorded: Recorded) -> AnswerTransport:
    return AnswerTransport(recorded, loop=asyncio.get_running_loop(), close=recorded.close)


async def test_a_small_answer_is_one_write() -> None:
    """Head and body go out together, and what follows them at once."""
    recorded = Recorded()
    transport = answer_on(recorded)
    for piece in (b"head", b"body", b"more"):
        transport.write(piece)
    await asyncio.sleep(0)
    assert recorded.writes == [b"headbody", b"more"]


async def test_a_head_waits_for_no_body_that_is_not_there() -> None:
    """The head of a stream leaves at the end of the turn in which it was written."""
    recorded = Recorded()
    transport = answer_on(recorded)
    transport.write(b"head")
    assert recorded.writes == []
    await asyncio.sleep(0)
    assert recorded.writes == [b"head"]
    transport.write(b"body")
    assert recorded.writes == [b"head", b"body"]


async def test_a_large_piece_is_not_copied() -> None:
    """Nothing is gained by copying what fills many packets."""
    recorded = Recorded()
    transport = answer_on(recorded)
    transport.write(b"head")
    transport.write(b"x" * (MOST_JOINED + 1))
    assert recorded.writes == [b"head", b"x" * (MOST_JOINED + 1)]


async def test_what_is_held_back_is_written_before_the_connection_closes() -> None:
    """An answer that is a head alone is not lost to the close behind it."""
    recorded = Recorded()
    transport = answer_on(recorded)
    transport.write(b"head")
    transport.close()
    await asyncio.sleep(0)
    assert recorded.writes == [b"head", b"closed"]


async def test_nothing_is_written_behind_the_end_of_a_connection() -> None:
    """A client that has left in the meantime does not fill the log."""
    recorded = Recorded()
    transport = answer_on(recorded)
    transport.write(b"head")
    recorded.close()
    await asyncio.sleep(0)
    assert recorded.writes == [b"closed"]
