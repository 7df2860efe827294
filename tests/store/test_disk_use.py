"""How much each user keeps."""

import asyncio

import pytest

from gateway.store.disk_use import KEPT_SECONDS, SHARE, DiskUse

ANN, BOB = 1, 2


class Disk:
    """Says what it is told to say; a look lasts `lasts` seconds of the test's own clock."""

    def __init__(self) -> None:
        self.sizes, self.looks, self.now, self.lasts = {ANN: 0, BOB: 0}, 0, 0.0, 0.0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def measure(self, user_id: int) -> int:
        self.looks += 1
        size = self.sizes[user_id]
        await self.may_answer.wait()
        self.now += self.lasts
        return size


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def usage(disk: Disk) -> DiskUse:
    return DiskUse(disk.measure, clock=lambda: disk.now)


async def test_a_measurement_is_kept_for_a_minute(disk: Disk, usage: DiskUse) -> None:
    """What others change on the disk is noticed after a minute, and nothing is measured in between."""
    disk.sizes[ANN] = 5
    assert [await usage.kept(ANN), await usage.kept(BOB), await usage.kept(ANN)] == [5, 0, 5]
    disk.sizes[ANN], disk.now = 9, KEPT_SECONDS - 1
    assert (await usage.kept(ANN), disk.looks) == (5, 2)
    disk.now = KEPT_SECONDS
    assert (await usage.kept(ANN), disk.looks) == (9, 3)


async def test_what_landed_counts_at_once(disk: Disk, usage: DiskUse) -> None:
    """An upload that ended is counted before anybody measures, and once after that."""
    await usage.kept(ANN)
    usage.land(ANN, 7)
    assert (await usage.kept(ANN), disk.looks) == (7, 1)
    disk.sizes[ANN] = 7
    usage.lessen(ANN)
    assert (await usage.kept(ANN), disk.looks) == (7, 2)


async def test_what_landed_during_a_measurement_is_not_lost(disk: Disk, usage: DiskUse) -> None:
    """A measurement that began before an upload ended may have missed it, so both are counted until the next."""
    disk.may_answer.clear()
    asking = asyncio.create_task(usage.kept(ANN))
    await asyncio.sleep(0)
    usage.land(ANN, 7)
    disk.may_answer.set()
    assert await asking == 7


async def test_a_deletion_is_measured_at_once(disk: Disk, usage: DiskUse) -> None:
    """After a deletion the next question measures, also one that was deleted during a measurement."""
    disk.sizes[ANN] = 9
    await usage.kept(ANN)
    disk.may_answer.clear()
    usage.lessen(ANN)
    asking = asyncio.create_task(usage.kept(ANN))
    await asyncio.sleep(0)
    disk.sizes[ANN] = 1
    usage.lessen(ANN)
    disk.may_answer.set()
    assert (await asking, await usage.kept(ANN)) == (9, 1)


async def test_jobs_cost_little(disk: Disk, usage: DiskUse) -> None:
    """After a job it is measured anew, but for at most a twentieth of the time."""
    disk.lasts = 0.5
    await usage.kept(ANN)
    disk.sizes[ANN] = 3
    usage.grow(ANN)
    assert (await usage.kept(ANN), disk.looks) == (0, 1)
    disk.now += SHARE * 0.5
    assert (await usage.kept(ANN), disk.looks) == (3, 2)


async def test_one_measurement_for_many_questions(disk: Disk, usage: DiskUse) -> None:
    """Questions at the same time share one measurement."""
    assert await asyncio.gather(*(usage.kept(ANN) for _ in range(20))) == [0] * 20
    assert disk.looks == 1


async def test_room_is_taken_once(disk: Disk, usage: DiskUse) -> None:
    """Room that is taken is nobody else's, and another user's is not touched."""
    disk.sizes[ANN] = 90
    await asyncio.gather(usage.kept(ANN), usage.kept(BOB))
    assert [usage.take(ANN, 4, limit=100) for _ in range(4)] == [True, True, False, False]
    assert usage.take(BOB, 100, limit=100)
    usage.give_back(ANN, 4)
    assert usage.take(ANN, 6, limit=100) and not usage.take(ANN, 1, limit=100)
