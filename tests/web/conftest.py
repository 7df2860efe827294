"""The pages, served."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.web.front import Front, front


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Front]:
    async with front(tmp_path) as running:
        yield running
