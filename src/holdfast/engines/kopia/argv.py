"""What kopia is given: its configuration, its environment and its arguments. Pure; nothing secret in any argument."""

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, assert_never

from holdfast.engines.program import inherited
from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage, Storage

VERSION: Final = "0.23.1"
PREFIX: Final = "kopia/"
OWNER: Final = ("holdfast", "holdfast")  # user and host of every client of ours: the owner of maintenance
SOURCE_PATH: Final = "/data"

CONTENT_CACHE: Final = 128 << 20
_METADATA_CACHE: Final = 512 << 20
_OVER: Final = 128 << 20  # by which a cache may be over its size for a moment
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_SNAPSHOT_ID: Final = re.compile(r"[0-9a-f]{32}")
_AWS: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_NO_MAINTENANCE: Final = "--no-auto-maintenance"
_PROGRESS: Final = ("--progress", "--progress-update-interval=1s")
# An empty list of ignore files means kopia's own default, so the list holds a name that no app uses.
_NO_IGNORE_FILE: Final = ".holdfast-no-ignore-file"


def source_of(identity: Identity) -> str:
    """Return the identity as kopia writes a source: `<claim>@<namespace>[.<cluster>]:/data`.

    Raises EngineFailure(BAD_ORDER) for a name that would not read back as itself.
    """
    parts = [identity.claim, identity.namespace, *([identity.cluster] if identity.cluster else [])]
    if "." in identity.namespace or not all(_NAME.fullmatch(part) for part in parts):
        raise EngineFailure(
            FailureKind.BAD_ORDER,
            f"{identity} cannot name a history in kopia: names are lower-case letters, digits, '-' and '.', "
            "and a namespace has no '.'",
        )
    return f"{identity.claim}@{'.'.join(parts[1:])}:{SOURCE_PATH}"


def identity_of(user: str, host: str, path: str) -> Identity | None:
    """Return the identity that a kopia source stands for; None when it is none of ours."""
    namespace, _, cluster = host.partition(".")
    identity = Identity(cluster=cluster, namespace=namespace, claim=user)
    try:
        return identity if source_of(identity) == f"{user}@{host}:{path}" else None
    except EngineFailure:
        return None


def is_snapshot_id(text: str) -> bool:
    """Tell whether `text` is of the form of a snapshot id: everything else names no snapshot, and may be a flag."""
    return _SNAPSHOT_ID.fullmatch(text) is not None


def engine_directory(storage: DirectoryStorage) -> Path:
    """Return where in a directory storage the repository lies."""
    return Path(storage.path) / PREFIX.rstrip("/")


def configuration(
    storage: Storage, authority: bytes | None, *, cache: Path | None, content_cache: int, readonly: bool
) -> bytes:
    """Return the configuration that opens the repository without `connect`; it holds no secret.

    `authority` is the content of the storage's `ca_file`. `cache` is private and starts empty, so the format blob
    that kopia leaves in it is the one that it really opened; None caches nothing at all. `content_cache` is in bytes.
    """
    user, host = OWNER
    return json.dumps(
        {
            "storage": _storage(storage, authority),
            "caching": {} if cache is None else _caching(cache, content_cache),
            "hostname": host,
            "username": user,
            "readonly": readonly,
            "enableActions": False,
            "formatBlobCacheDuration": 900_000_000_000,
        }
    ).encode()


def _caching(cache: Path, content_cache: int) -> dict[str, Any]:
    """Return cache settings. Without a short sweep age kopia lets each cache grow for 10 minutes past its size."""
    return {
        "cacheDirectory": str(cache),
        "maxCacheSize": content_cache,
        "contentCacheSizeLimitBytes": content_cache + _OVER,
        "minContentSweepAge": 1,
        "maxMetadataCacheSize": _METADATA_CACHE,
        "metadataCacheSizeLimitBytes": _METADATA_CACHE + _OVER,
        "maxListCacheDuration": 0,
    }


def _storage(storage: Storage, authority: bytes | None) -> dict[str, Any]:
    match storage:
        case DirectoryStorage():
            config: dict[str, Any] = {"path": str(engine_directory(storage)), "fileMode": 0o600, "dirMode": 0o700}
            return {"type": "filesystem", "config": {**config, "dirShards": None}}
        case S3Storage():
            config = {
                "bucket": storage.bucket,
                "prefix": storage.prefix + PREFIX,
                "endpoint": storage.endpoint,
                "region": storage.region,
                "doNotUseTLS": not storage.tls,
            }
            if authority is not None:
                config["rootCA"] = base64.b64encode(authority).decode()
            return {"type": "s3", "config": config}
        case _:
            assert_never(storage)


def environment(given: Mapping[str, str], password: str, work: Path, config: Path) -> dict[str, str]:
    """Return all that kopia may see. The cache's place is the configuration's alone: a variable would override it."""
    return {
        **inherited(given),
        **{name: given[name] for name in _AWS if name in given},
        "HOME": str(work),
        "TMPDIR": str(work),
        "KOPIA_PASSWORD": password,
        "KOPIA_CONFIG_PATH": str(config),
        "KOPIA_LOG_DIR": str(work / "log"),
        "KOPIA_CHECK_FOR_UPDATES": "false",
        "KOPIA_PERSIST_CREDENTIALS_ON_CONNECT": "false",
        "KOPIA_USE_KEYRING": "false",
        "KOPIA_SEND_ERROR_NOTIFICATIONS": "never",
        "KOPIA_DISABLE_COLOR": "true",
        "TZ": "UTC",
    }


def secrets(given: Mapping[str, str], password: str) -> tuple[str, ...]:
    """Return what no message may show."""
    return (password, *(given[name] for name in _AWS[1:] if name in given))


def version() -> tuple[str, ...]:
    return ("--version",)


def create(storage: Storage, cache: Path) -> tuple[str, ...]:
    """Create the repository. Keys come from the environment variables that the S3 flags read."""
    user, host = OWNER
    common = (f"--override-username={user}", f"--override-hostname={host}", f"--cache-directory={cache}")
    match storage:
        case DirectoryStorage():
            return ("repository", "create", "filesystem", f"--path={engine_directory(storage)}", *common)
        case S3Storage():
            where = (
                f"--bucket={storage.bucket}",
                f"--prefix={storage.prefix}{PREFIX}",
                f"--endpoint={storage.endpoint}",
                f"--region={storage.region}",
            )
            tls = () if storage.tls else ("--disable-tls",)
            authority = () if storage.ca_file is None else (f"--root-ca-pem-path={storage.ca_file}",)
            return ("repository", "create", "s3", *where, *tls, *authority, *common)
        case _:
            assert_never(storage)


def set_parameters() -> tuple[str, ...]:
    """Let index epochs end after 6 hours instead of 24: many claims write hourly, and each run adds an index blob."""
    return ("repository", "set-parameters", "--epoch-min-duration=6h")


def set_global_policy() -> tuple[str, ...]:
    """Switch off kopia's own retention, ignore files and tolerance of errors, for every source."""
    keep = tuple(f"--keep-{period}=0" for period in ("latest", "hourly", "daily", "weekly", "monthly", "annual"))
    return (
        *("policy", "set", "--global", _NO_MAINTENANCE, *keep),
        *("--remove-dot-ignore=.kopiaignore", f"--add-dot-ignore={_NO_IGNORE_FILE}", "--ignore-cache-dirs=false"),
        *("--ignore-file-errors=false", "--ignore-dir-errors=false", "--ignore-unknown-types=true"),
        *("--one-file-system=false", "--ignore-identical-snapshots=false", "--compression=zstd-fastest"),
    )


def source_policy(identity: Identity, exclude: Sequence[str]) -> bytes:
    """Return the whole policy of one source, as `policy import` reads it: the patterns left out, and nothing else."""
    files = {"ignore": list(exclude)} if exclude else {}
    return json.dumps({source_of(identity): {"files": files, "scheduling": {"manual": True}}}).encode()


def import_policy(identity: Identity, document: Path) -> tuple[str, ...]:
    return ("policy", "import", _NO_MAINTENANCE, f"--from-file={document}", source_of(identity))


def backup(identity: Identity, source: Path, tags: Mapping[str, str], parallel: int) -> tuple[str, ...]:
    return (
        *("snapshot", "create", "--json", "--json-verbose", *_PROGRESS, _NO_MAINTENANCE),
        f"--override-source={source_of(identity)}",
        *(f"--tags={name}:{value}" for name, value in sorted(tags.items())),
        f"--parallel={parallel}",
        str(source),
    )


def list_snapshots() -> tuple[str, ...]:
    """List every source. Without `--no-retention` the time grows with the square of the sources."""
    return ("snapshot", "list", "--all", "--json", "--no-retention")


def list_source(identity: Identity) -> tuple[str, ...]:
    """List the snapshots of one identity."""
    return ("snapshot", "list", source_of(identity), "--json", "--no-retention")


def list_manifests() -> tuple[str, ...]:
    """List manifests of every type: a healthy repository shows policies and maintenance too."""
    return ("manifest", "list", "--json")


def show_manifest(snapshot: str) -> tuple[str, ...]:
    return ("manifest", "show", snapshot)


def show_object(object_id: str) -> tuple[str, ...]:
    return ("show", object_id)


def list_objects(snapshot: str) -> tuple[str, ...]:
    """List all entries with their sizes and object ids, in the order in which a restore writes them."""
    return ("ls", "--long", "--recursive", "--show-object-id", snapshot)


def prefetch(object_ids: Sequence[str]) -> tuple[str, ...]:
    """Fetch the whole packs that hold the objects into the content cache; that it writes nothing is no failure."""
    return ("cache", "prefetch", "--hint=blobs", *object_ids)


def restore(snapshot: str, target: Path, *, as_root: bool) -> tuple[str, ...]:
    """Restore as a directory. Root keeps owners, and fails when it may not; others leave owners out knowingly."""
    owners = ("--no-ignore-permission-errors",) if as_root else ("--skip-owners",)
    return ("snapshot", "restore", "--mode=local", "--write-sparse-files", *owners, *_PROGRESS, snapshot, str(target))


def verify(snapshots: Collection[str], percent: int) -> tuple[str, ...]:
    return ("snapshot", "verify", "--json", f"--verify-files-percent={percent}", *sorted(snapshots))


def delete(snapshots: Collection[str]) -> tuple[str, ...]:
    return ("snapshot", "delete", _NO_MAINTENANCE, "--delete", *sorted(snapshots))


def maintain(*, full: bool) -> tuple[str, ...]:
    return ("maintenance", "run", "--full" if full else "--no-full")


def maintenance_info() -> tuple[str, ...]:
    return ("maintenance", "info", "--json")
