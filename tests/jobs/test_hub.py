"""The open sockets of every user, and what is queued for each of them."""

import asyncio
import json
import struct

import pytest

from gateway.comfy import events
from gateway.comfy.events import BinaryFrame, TextFrame
from gateway.jobs.hub import Hub, Listener, Outbox

JPEG, PNG = 1, 2


def preview(form: int, body: bytes) -> bytes:
    return struct.pack(">II", 1, form) + body


def frame(raw: str | bytes) -> TextFrame | BinaryFrame:
    parsed = events.parse(raw)
    assert parsed is not None
    return parsed


def with_metadata(body: bytes, kind: str = "image/jpeg") -> bytes:
    metadata = json.dumps({"prompt_id": "p", "image_type": kind}).encode()
    return struct.pack(">II", 4, len(metadata)) + metadata + body


async def drained(outbox: Outbox) -> list[str | bytes | None]:
    taken: list[str | bytes | None] = []
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            while True:
                taken.append(await outbox.get())
                if taken[-1] is None:
                    raise TimeoutError
    return taken


async def test_a_preview_is_replaced_by_the_newest() -> None:
    """Of the JPEG previews that a slow reader did not take, only the newest is left."""
    listener = Listener(user_id=1, sid="x")
    for number in range(500):
        listener.offer(frame(preview(JPEG, b"%d" % number)))
    assert await drained(listener.outbox) == [preview(JPEG, b"499")]


async def test_pictures_and_texts_are_never_replaced_and_keep_their_place() -> None:
    """PNG frames are results (SaveImageWebsocket leaves no history) and, like text, stay where they were."""
    listener = Listener(user_id=1, sid="x")
    told = events.executing("2", prompt_id="p")
    for raw in (preview(JPEG, b"1"), told, preview(PNG, b"a"), preview(JPEG, b"2"), preview(PNG, b"a"), told):
        listener.offer(frame(raw))
    assert await drained(listener.outbox) == [told, preview(PNG, b"a"), preview(JPEG, b"2"), preview(PNG, b"a"), told]


async def test_a_preview_that_was_taken_is_not_replaced() -> None:
    """What the reader has is the reader's."""
    outbox = Outbox()
    outbox.put(b"one", replaceable=True)
    assert await outbox.get() == b"one"
    outbox.put(b"text")
    outbox.put(b"two", replaceable=True)
    assert await drained(outbox) == [b"text", b"two"]


@pytest.mark.parametrize(("size", "count"), [(1, 6), (60, 2)])
async def test_a_reader_that_stays_behind_loses_its_socket(size: int, count: int) -> None:
    """Over the limit of frames or of bytes the outbox is overflowed for good, and holds nothing."""
    outbox = Outbox(max_messages=5, max_bytes=100)
    for _ in range(count):
        outbox.put("x" * size)
    assert outbox.overflowed
    outbox.put("one more")
    assert await outbox.get() is None


async def test_one_large_frame_alone_is_no_overflow() -> None:
    """A single picture above the limit of bytes is delivered: nobody stays behind by receiving it."""
    outbox = Outbox(max_bytes=100)
    outbox.put(b"x" * 1000)
    assert await outbox.get() == b"x" * 1000


async def test_a_reader_that_waits_is_woken_by_the_overflow() -> None:
    """A reader learns of the overflow at once."""
    outbox = Outbox(max_messages=0)
    reader = asyncio.create_task(outbox.get())
    await asyncio.sleep(0)
    outbox.put("x")
    outbox.put("x")
    assert await asyncio.wait_for(reader, 1) is None


async def test_replaced_previews_do_not_count_as_bytes() -> None:
    """A stream of previews to a reader that is away takes the room of one."""
    outbox = Outbox(max_bytes=100)
    for _ in range(50):
        outbox.put(b"x" * 60, replaceable=True)
    outbox.put(b"y" * 30)
    assert not outbox.overflowed


@pytest.mark.parametrize("understood", [True, False])
async def test_previews_come_in_the_form_that_the_client_understands(*, understood: bool) -> None:
    """Binary 4 becomes binary 1 for clients that did not announce supports_preview_metadata."""
    listener = Listener(user_id=1, sid="x")
    listener.preview_metadata = understood
    listener.offer(frame(with_metadata(b"jpeg")))
    assert await listener.outbox.get() == (with_metadata(b"jpeg") if understood else preview(JPEG, b"jpeg"))


def hub_with(*listeners: Listener) -> Hub:
    hub = Hub({1: 3, 2: 5}.get)
    for listener in listeners:
        hub.attach(listener)
    return hub


async def test_frames_of_a_job_go_to_the_sockets_with_its_client_id() -> None:
    """A job that named a client id is told to its owner's sockets of that id only."""
    right, wrong, foreign = (Listener(user_id=user, sid=sid) for user, sid in ((1, "x"), (1, "y"), (2, "x")))
    told = frame(events.executing("2", prompt_id="p"))
    hub_with(right, wrong, foreign).deliver(1, "x", [told])
    assert [await drained(one.outbox) for one in (right, wrong, foreign)] == [[told.raw], [], []]


async def test_frames_of_a_job_without_client_id_go_to_all_sockets_of_its_owner() -> None:
    """A job that named none is told to all sockets of its owner, and to nobody else's."""
    one, two, foreign = (Listener(user_id=user, sid=sid) for user, sid in ((1, "x"), (1, "y"), (2, "x")))
    told = frame(events.executing("2", prompt_id="p"))
    hub_with(one, two, foreign).deliver(1, None, [told])
    assert [await drained(each.outbox) for each in (one, two, foreign)] == [[told.raw], [told.raw], []]


async def test_status_counts_the_users_own_jobs() -> None:
    """`status` tells every socket of a user that user's count."""
    one, other = Listener(user_id=1, sid="x"), Listener(user_id=2, sid="x")
    hub = hub_with(one, other)
    hub.status(1)
    assert [await drained(each.outbox) for each in (one, other)] == [[events.status(3)], []]


async def test_a_closed_socket_gets_nothing() -> None:
    """After a socket closed it is not counted and not told."""
    one, two = Listener(user_id=1, sid="x"), Listener(user_id=1, sid="x")
    hub = hub_with(one, two)
    hub.detach(one)
    hub.broadcast(frame(events.executing("2", prompt_id="p")))
    assert (hub.open_sockets(1), await drained(one.outbox), len(await drained(two.outbox))) == (1, [], 1)
    hub.detach(two)
    assert hub.open_sockets(1) == 0
