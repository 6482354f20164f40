"""A wave: many claims are created again at once, from a repository in S3.

    python -m benchmarks.wave --engine kopia --claims 24

Prints how long it took from the first claim to the last app, and how many inventories, engine programs and storage
requests it cost; every app compares its bytes by `sha256sum` with what it wrote.
"""

import argparse
import asyncio
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from holdfast.model.failure import Failure
from tests.support.s3 import S3Server, running_server
from tests.support.town import Town, founded

WRITE = 'for i in $(seq 20); do head -c 20000 /dev/urandom > "$i"; done; cat * | sha256sum'
READ = "cat * | sha256sum"


async def statistics(town: Town) -> tuple[int, int]:
    """Return how many inventories the reader has taken, and how many programs it has started."""
    assert town.operator is not None
    reader = town.operator.inventories.reader("default")
    assert not isinstance(reader, Failure), reader
    try:
        found = await reader.statistics()
    finally:
        await reader.aclose()
    return found.inventories, found.programs_started


async def measure(engine: str, count: int, base: Path, server: S3Server) -> None:
    """Back up, lose everything, and bring all back at once."""
    (base / "town").mkdir()
    storage = {"s3": {"endpoint": server.endpoint, "bucket": server.bucket, "prefix": "wave/", "insecure": True}}
    async with founded(base / "town", engine, storage=storage, keys=server.environment) as town:
        names = [f"claim-{number:02}" for number in range(count)]
        written = {}
        for name in names:
            await town.claim(name)
            written[name] = await town.run(name, WRITE)
        await asyncio.gather(*(town.back_up(name) for name in names))
        await town.lose_everything()
        await town.ready()
        inventories, programs = await statistics(town)
        before = len(server.requests())
        start = time.monotonic()
        await asyncio.gather(*(town.claim(name) for name in names))
        await asyncio.gather(*(town.app(name, READ) for name in names))
        await asyncio.gather(*(town.app_ended(name) for name in names))
        seconds = time.monotonic() - start
        after = await statistics(town)
        same = 0
        for name in names:
            lines = [line async for line in town.kube.logs("apps", name, follow=False)]
            same += "\n".join(lines) == written[name]
        requests = Counter(each.operation for each in server.requests()[before:])
        print(f"{engine}: {count} claims back in {seconds:.1f} s, {same} of them byte-identical")
        print(f"  inventories {after[0] - inventories}, engine programs of the reader {after[1] - programs}")
        print(f"  storage requests, readers and movers: {sum(requests.values())} {dict(requests)}")


async def main() -> None:
    """Read the command line and measure."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--engine", choices=["kopia", "restic"], default="kopia")
    reader.add_argument("--claims", type=int, default=24)
    asked = reader.parse_args()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-wave-")))
        (base / "s3").mkdir()
        server = stack.enter_context(running_server(base / "s3"))
        await measure(asked.engine, asked.claims, base, server)


if __name__ == "__main__":
    asyncio.run(main())
