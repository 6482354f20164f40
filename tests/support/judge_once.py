"""Judge the repository in a directory as whoever runs this, and print both verdicts: `judge_once.py ENGINE STORAGE`."""

import asyncio
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from holdfast.model.repository import DirectoryStorage, EngineKind
from tests.support.evidence import Place, judge


async def main(engine: str, path: str) -> None:
    environment = {"PATH": os.environ["PATH"]}
    place = Place(
        engine=EngineKind(engine), where=DirectoryStorage(path=path), files=Path(path), environment=environment
    )
    print(json.dumps((await judge(place)).words))


asyncio.run(main(*sys.argv[1:]))
