"""How restic is called: arguments and environment, from values alone. Nothing secret is ever an argument (P9)."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, assert_never
from urllib.parse import quote, unquote

from holdfast.engines import place, program
from holdfast.model.claim import Identity
from holdfast.model.repository import DirectoryStorage, S3Storage, Storage

VERSION: Final = "0.19.1"
ROOT_TAG: Final = "holdfast-root"  # holds the source directory's own attributes, which restic leaves out
EMPTY_TAG: Final = "holdfast-empty"
EMPTY_NAME: Final = "holdfast-empty-volume"  # restic refuses a snapshot of nothing, so this directory stands for it

_KEYS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_TAG_SAFE: Final = " :/+@"  # a comma would separate tags, "=" separates name and value
_LOCK_PATIENCE: Final = "1m"
_SILENCE: Final = "20s"  # as long as our own client waits


def folder_of(identity: Identity) -> str:
    """Return where in the storage the identity's repository lies, without a trailing slash."""
    return f"restic/{place.folder_of(identity)}"


def repository_of(storage: Storage, identity: Identity) -> str:
    """Return restic's name of the identity's repository: it holds no credentials."""
    folder = folder_of(identity)
    match storage:
        case DirectoryStorage():
            return str(Path(storage.path).absolute() / folder)
        case S3Storage():
            scheme = "https" if storage.tls else "http"
            return f"s3:{scheme}://{storage.endpoint}/{storage.bucket}/{storage.prefix}{folder}"
        case _:
            assert_never(storage)


def environment_of(
    storage: Storage, identity: Identity, password: str, given: Mapping[str, str], work: Path, cache: Path
) -> dict[str, str]:
    """Return all that restic may see: nothing outside `work` is written, and secrets come by environment."""
    keys = _KEYS if isinstance(storage, S3Storage) else ()
    return {
        **program.inherited(given),
        **{name: given[name] for name in keys if name in given},
        "HOME": str(work),
        "TMPDIR": str(work),
        "RESTIC_CACHE_DIR": str(cache),
        "RESTIC_PASSWORD": password,
        "RESTIC_REPOSITORY": repository_of(storage, identity),
        "RESTIC_PROGRESS_FPS": "1",
    }


def secrets_of(password: str, given: Mapping[str, str]) -> tuple[str, ...]:
    """Return what must not be shown in any output."""
    return (password, *(given[name] for name in _KEYS[1:] if name in given))


def options(storage: Storage) -> tuple[str, ...]:
    """Return the options of every call. The region is always named: without it restic retries a 404 for 14 minutes."""
    match storage:
        case DirectoryStorage():
            return ()
        case S3Storage():
            lookup = "path" if storage.path_style else "dns"
            authorities = ("--cacert", storage.ca_file) if storage.ca_file is not None else ()
            return ("-o", f"s3.region={storage.region}", "-o", f"s3.bucket-lookup={lookup}", *authorities)
        case _:
            assert_never(storage)


def version() -> tuple[str, ...]:
    return ("version", "--json")


def init() -> tuple[str, ...]:
    return ("init", "--json")


def snapshots() -> tuple[str, ...]:
    """List snapshots; a request that stays silent is given up after a while, not after restic's own 5 minutes."""
    return ("snapshots", "--json", "--no-lock", f"--stuck-request-timeout={_SILENCE}")


def snapshot(snapshot_id: str) -> tuple[str, ...]:
    """Print a list of one snapshot, its tags included; `cat snapshot` would take a "%" in them for a format."""
    return (*snapshots(), snapshot_id)


def tree(snapshot_id: str, path: str) -> tuple[str, ...]:
    """Print one directory of a snapshot; unlike `ls` it keeps names that are not UTF-8."""
    return ("cat", "tree", f"{snapshot_id}:/{path}", "--json", "--no-lock")


def dump(snapshot_id: str, path: str) -> tuple[str, ...]:
    return ("dump", "--json", "--no-lock", snapshot_id, f"/{path}")


def check(percent: int) -> tuple[str, ...]:
    """Read so much of all content, 0 none of it; with `--json` it would not tell its progress.

    `--no-lock`, for a verification never writes.
    """
    if percent <= 0:
        return ("check", "--no-lock")
    return ("check", "--no-lock", "--read-data" if percent >= 100 else f"--read-data-subset={percent}%")


def backup(identity: Identity, source: Path, tags: Mapping[str, str], exclude: Sequence[str]) -> tuple[str, ...]:
    """Back up the directory that restic is started in.

    A path of "." puts the entries at the snapshot's root, as VolSync does, so that each can restore the other's.
    The parent is the identity's newest snapshot wherever it was taken; drivers that copy change inode and ctime.
    """
    return (
        "backup",
        "--json",
        f"--host={place.host_of(identity)}",
        "--group-by=host",
        "--ignore-inode",
        "--ignore-ctime",
        *(f"--tag={tag(name, value)}" for name, value in sorted(tags.items())),
        *(f"--exclude={anchored(pattern, source)}" for pattern in exclude),
        ".",
    )


def restore(snapshot_id: str, target: Path) -> tuple[str, ...]:
    """Complete or replace what is there under the snapshot's names; other names stay."""
    return ("restore", snapshot_id, "--json", "--no-lock", "--sparse", "--overwrite=always", f"--target={target}")


def forget(snapshots: Collection[str]) -> tuple[str, ...]:
    return ("forget", "--json", f"--retry-lock={_LOCK_PATIENCE}", *snapshots)


def prune(*, full: bool) -> tuple[str, ...]:
    """Delete packs that nothing uses; `full` also repacks those of which little is used."""
    unused = "5%" if full else "unlimited"
    return ("prune", f"--retry-lock={_LOCK_PATIENCE}", f"--max-unused={unused}")


def tag(name: str, value: str) -> str:
    """Return restic's form of a tag with a value."""
    return f"{quote(name, safe=_TAG_SAFE)}={quote(value, safe=_TAG_SAFE)}"


def tags_of(texts: Collection[str]) -> dict[str, str]:
    """Return the tags as we gave them; one that others made without a value has an empty one."""
    pairs = (text.partition("=") for text in texts)
    return {unquote(name): unquote(value) for name, _, value in pairs}


def anchored(pattern: str, source: Path) -> str:
    """Return a pattern of ours for restic, which matches absolute paths.

    As in a .gitignore at the volume's root: a pattern with a slash before its end starts there, others match anywhere.
    """
    body = pattern.rstrip("/")
    if "/" not in body:
        return body
    return f"{_escaped(str(source))}/{body.lstrip('/')}"


def _escaped(path: str) -> str:
    return "".join(f"\\{letter}" if letter in r"\*?[" else letter for letter in path)
