"""Bytes, modes, owners and times of 20,000 small files and of one of 1 GiB, before everything is lost and after.

    python -m benchmarks.fidelity --engine kopia

The comparison is made in the apps' own pods by `find -printf` and `sha256sum`. As root the files have four owners.
"""

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path

from holdfast.kube import objects
from tests.support.town import APPS, Town, founded

SMALL = """
i=0; while [ $i -lt 100 ]; do mkdir "d$i"; i=$((i+1)); done
seq 20000 | while read n; do echo "file $n $n $n $n" > "d$((n % 100))/$n"; done
ln -s d1/101 link; ln -s /nowhere dangling; mkdir empty; truncate -s 50M sparse
chmod 4755 d1/101; chmod 2750 d2/102; chmod 1777 empty; chmod 0400 d3/103
touch -d 2001-02-03T04:05:06.789 d4/104
if [ "$(id -u)" = 0 ]; then chown 1000:1000 d5/105; chown -h 26:27 link; chown 4000000000:7 d6; chown 33:33 d7/107; fi
"""
BIG = "head -c 1073741824 /dev/urandom > big"
# Directory times are what kopia cannot keep, and links are compared by their target.
LOOK = r"""
find . -type d -printf '%P %y %m %U:%G\n' -o -type l -printf '%P %y %U:%G %l\n' -o -printf '%P %y %m %U:%G %s %T@\n' \
  | LC_ALL=C sort | sha256sum
find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum
find . | wc -l
"""


async def measure(engine: str, base: Path) -> None:
    """Write, back up, lose everything, look again."""
    async with founded(base, engine) as town:
        before = {}
        for name, write in (("small", SMALL), ("big", BIG)):
            await town.claim(name)
            before[name] = await told(town, name, write + LOOK)
        start = time.monotonic()
        await asyncio.gather(*(backed_up(town, name) for name in before))
        print(f"{engine}: both backed up in {time.monotonic() - start:.1f} s")
        await town.lose_everything()
        await town.ready()
        start = time.monotonic()
        for name in before:
            await town.claim(name)
        after = dict(zip(before, await asyncio.gather(*(told(town, name, LOOK) for name in before)), strict=True))
        print(f"{engine}: both back, and compared, in {time.monotonic() - start:.1f} s")
        for name, seen in before.items():
            same = "the same" if after[name] == seen else f"DIFFERENT: {seen} before, {after[name]} after"
            print(f"  {name}: {seen.split()[-1]} entries, find and sha256sum say {same}")


async def told(town: Town, name: str, script: str) -> str:
    """Return what a script in the claim's volume printed."""
    await town.app(name, script)

    async def ended() -> bool:
        found = await town.kube.get(objects.PODS, name, APPS)
        assert found.status is None or found.status.phase != "Failed", f"the app {name} failed"
        return found.status is not None and found.status.phase == "Succeeded"

    await town.until(f"{name} ended", ended, seconds=300)
    lines = [line async for line in town.kube.logs(APPS, name, follow=False)]
    await town.remove(objects.PODS, name)
    return "\n".join(lines)


async def backed_up(town: Town, name: str) -> None:
    """Ask for a backup and wait until it counts."""
    await town.annotate(name, {"holdfast.dev/backup-now": "1"})

    async def counted() -> bool:
        return bool((await town.backup(name)).get("lastID"))

    await town.until(f"{name} is backed up", counted, seconds=300)


async def main() -> None:
    """Read the command line and measure."""
    reader = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    reader.add_argument("--engine", choices=["kopia", "restic"], default="kopia")
    asked = reader.parse_args()
    print(f"as uid {os.getuid()}")
    with tempfile.TemporaryDirectory(prefix="holdfast-fidelity-") as base:
        await measure(asked.engine, Path(base))


if __name__ == "__main__":
    asyncio.run(main())
