"""After a siege: is the repository healthy by the engine's own program, and do our records agree with it?"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path

from holdfast.engines import choose
from holdfast.engines.program import Limits
from holdfast.model.claim import Identity
from holdfast.model.repository import DirectoryStorage, EngineKind, S3Storage, Storage
from holdfast.model.workorder import RepositoryAccess
from tests.support.programs import find_program, path_with_tools

HOUR = Limits(total=timedelta(hours=1), inactivity=timedelta(minutes=10))


async def check(
    engine: str,
    storage: Storage,
    base: Path,
    password: str,
    keys: Mapping[str, str],
    namespace: str,
    claims: Iterable[str],
    directory: Path,
) -> None:
    """Raise AssertionError unless all is well. `base` is where the storage's objects lie as files."""
    identities = [Identity(cluster="", namespace=namespace, claim=claim) for claim in claims]
    await _expect_agreement(engine, storage, password, keys, identities)
    work = Path(tempfile.mkdtemp(dir=directory))
    environment = {"PATH": path_with_tools(), "HOME": str(work), "TMPDIR": str(work), **keys}
    if engine == "kopia":
        environment |= {"KOPIA_PASSWORD": password, "KOPIA_CHECK_FOR_UPDATES": "false"}
        _kopia(storage, base, environment, work)
    else:
        environment |= {"RESTIC_PASSWORD": password, "RESTIC_CACHE_DIR": str(work / "cache")}
        _restic(storage, base, environment)


async def _expect_agreement(
    engine: str, storage: Storage, password: str, keys: Mapping[str, str], identities: Iterable[Identity]
) -> None:
    access = RepositoryAccess(engine=EngineKind(engine), storage=storage)
    environment = {"PATH": path_with_tools(), choose.PASSWORD: password, **keys}
    with tempfile.TemporaryDirectory() as work:
        async with choose.opened(access, Path("/"), environment, Path(work), HOUR) as repository:
            marker = await repository.marker()
            for identity in identities:
                record = await repository.record(marker, identity)
                listing = await repository.listing(identity)
                assert record is not None, f"{identity} has no record"
                recorded, listed = [each.id for each in record.snapshots], {each.id for each in listing.snapshots}
                assert set(recorded) <= listed, f"{identity}: recorded and gone: {set(recorded) - listed}"
                assert len({each.run for each in record.snapshots}) == len(recorded), f"{identity}: a run twice"
                flagged = [(each.id, each.flags) for each in record.snapshots if each.flags]
                assert not flagged, f"{identity}: {flagged}"
                print(f"  {identity}: {len(recorded)} recorded, {len(listed) - len(recorded)} more in the repository")


def _kopia(storage: Storage, base: Path, environment: Mapping[str, str], work: Path) -> None:
    match storage:
        case DirectoryStorage():
            place: tuple[str, ...] = ("filesystem", "--path", str(base / "kopia"))
        case S3Storage():
            prefix = f"{storage.prefix}kopia/"
            place = ("s3", "--bucket", storage.bucket, "--endpoint", storage.endpoint, "--prefix", prefix)
            place += ("--disable-tls",)
    config = ("--config-file", str(work / "config"), "--log-dir", str(work / "logs"))
    _run("kopia", *config, "repository", "connect", *place, "--cache-directory", str(work / "c"), given=environment)
    _run("kopia", *config, "snapshot", "verify", "--verify-files-percent=100", given=environment)


def _restic(storage: Storage, base: Path, environment: Mapping[str, str]) -> None:
    found = [each.parent for each in (base / "restic").rglob("config")]
    assert found, "there is no repository of restic"
    for each in found:
        match storage:
            case DirectoryStorage():
                where = str(each)
            case S3Storage():
                where = f"s3:http://{storage.endpoint}/{storage.bucket}/{storage.prefix}{each.relative_to(base)}"
        _run("restic", "--repo", where, "check", "--no-lock", "--read-data", given=environment)


def _run(name: str, *arguments: str, given: Mapping[str, str]) -> None:
    argv = (find_program(name), *arguments)
    ended = subprocess.run(argv, env=dict(given), capture_output=True, text=True, check=False)
    said = "\n".join([*ended.stdout.splitlines()[-5:], *ended.stderr.splitlines()[-10:]])
    assert ended.returncode == 0, f"{name} {' '.join(arguments)} exited {ended.returncode}:\n{said}"
    print(f"  {name} {arguments[-2]} {arguments[-1]}: exit 0; {said.splitlines()[-1] if said else ''}", flush=True)


def remove(directory: Path) -> None:
    """Remove what a siege left; volumes may hold directories that cannot be written."""
    for folder, _, _ in os.walk(directory):
        Path(folder).chmod(0o700)
    shutil.rmtree(directory, ignore_errors=True)
