from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.town import Town, founded


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with founded(tmp_path) as found:
        yield found
