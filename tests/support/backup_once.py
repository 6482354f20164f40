"""Back up once as whoever runs this, and print what could not be read: `backup_once.py ENGINE STORAGE WORK SOURCE`."""

import asyncio
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from holdfast.engines.storage import open_storage
from holdfast.model.repository import DirectoryStorage, EngineKind
from tests.support.bench import fresh_identity, open_engine, unheard


async def main(kind: str, storage: str, work: str, source: str) -> None:
    where = DirectoryStorage(path=storage)
    beside = open_storage(where, os.environ)
    engine = open_engine(EngineKind(kind), where, beside, os.environ, Path(work))
    taken = await engine.backup(fresh_identity(), Path(source), {}, (), unheard, history=None)
    print(taken.unreadable_count, *sorted(taken.unreadable), sep="\n")


asyncio.run(main(*sys.argv[1:]))
