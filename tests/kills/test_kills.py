"""A short siege of each engine; `python -m tests.kills.siege` lays long ones. HOLDFAST_SEED replays the moments."""

import os
from pathlib import Path

import pytest

from tests.kills.siege import laid
from tests.support.programs import find_program

pytestmark = [pytest.mark.anyio, pytest.mark.programs, pytest.mark.timeout(300)]

SEED = int(os.environ.get("HOLDFAST_SEED", "20261125"))
KILLS = 8


@pytest.mark.parametrize("engine", ["kopia", "restic"])
async def test_whoever_is_killed_every_claim_has_its_bytes_in_the_end(engine: str, tmp_path: Path) -> None:
    find_program(engine)
    print(f"HOLDFAST_SEED={SEED}")
    async with laid(tmp_path, engine, SEED, None, size=1) as siege:
        siege.rough, siege.claims = False, ("shapes", "tiny")
        siege.quotas = {"operator": 1, "reader": 1, "mover": 2, "engine": 1}
        await siege.play(KILLS, seconds=40)
    assert siege.killers.total >= KILLS, siege.killers.phases
