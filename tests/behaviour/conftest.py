import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.town import Opener, Town, founded, on_sandbox


@pytest.fixture
def opener() -> Opener:
    """Return where towns stand: the real cluster where there is one (`make behaviour`), else the sandbox."""
    if "HOLDFAST_E2E" not in os.environ:
        return on_sandbox
    from tests.e2e.ground import on_cluster

    return on_cluster


@pytest.fixture
async def town(tmp_path: Path, opener: Opener) -> AsyncIterator[Town]:
    async with founded(tmp_path, opener=opener) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, on a real cluster, what only the sandbox can show."""
    if "HOLDFAST_E2E" not in os.environ:
        return
    for item in items:
        if mark := item.get_closest_marker("sandbox"):
            item.add_marker(pytest.mark.skip(reason=f"only in the sandbox: {mark.args[0]}"))
        # An operator that is stopped amid a TLS handshake: httpcore2 leaves that socket to the garbage collector.
        item.add_marker(pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"))
