"""restic's arguments, its JSON and our notes in its tags: no process needed."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engines import place
from holdfast.engines.protocol import EngineFailure
from holdfast.engines.restic import argv, parse, root
from holdfast.engines.restic.root import RootAttributes
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind
from holdfast.model.repository import DirectoryStorage, S3Storage

IDENTITY = Identity(cluster="east", namespace="web", claim="data")
S3 = S3Storage(endpoint="s3.example:9000", bucket="b", prefix="base/", region="eu-1", ca_file="/ca.pem")
KEYS = {"AWS_ACCESS_KEY_ID": "the-key-id", "AWS_SECRET_ACCESS_KEY": "the-secret", "AWS_SESSION_TOKEN": "the-token"}


def test_nothing_secret_is_ever_an_argument() -> None:
    calls = [
        argv.version(),
        argv.init(),
        argv.snapshots(),
        argv.snapshot("a"),
        argv.tree("a", "b"),
        argv.dump("a", "b"),
        argv.check(10),
        argv.backup(IDENTITY, Path("/data"), {"run": "r"}, ("*.tmp",)),
        argv.restore("a", Path("/restore")),
        argv.forget(["a"]),
        argv.prune(full=True),
    ]
    environment = argv.environment_of(S3, IDENTITY, "the-password", KEYS, Path("/work"), Path("/cache"))
    for secret in ("the-password", "the-secret", "the-token", "the-key-id"):
        assert secret in environment.values()
        assert not any(secret in word for call in calls for word in (*argv.options(S3), *call))
        assert secret not in environment["RESTIC_REPOSITORY"]
    assert set(argv.secrets_of("the-password", KEYS)) == {"the-password", "the-secret", "the-token"}


def test_nothing_else_of_our_environment_is_passed_on() -> None:
    given_environment = {**KEYS, "RESTIC_PASSWORD_FILE": "/x", "RESTIC_HOST": "x", "HOME": "/root", "PATH": "/bin"}
    directory = DirectoryStorage(path="/store")
    environment = argv.environment_of(directory, IDENTITY, "p", given_environment, Path("/work"), Path("/work/cache"))
    assert environment == {
        "PATH": "/bin",
        "HOME": "/work",
        "TMPDIR": "/work",
        "RESTIC_CACHE_DIR": "/work/cache",
        "RESTIC_PASSWORD": "p",
        "RESTIC_REPOSITORY": "/store/restic/web.east/data",
        "RESTIC_PROGRESS_FPS": "1",
    }


def test_the_region_is_always_named() -> None:
    assert argv.options(S3) == ("-o", "s3.region=eu-1", "-o", "s3.bucket-lookup=path", "--cacert", "/ca.pem")
    assert argv.repository_of(S3, IDENTITY) == "s3:https://s3.example:9000/b/base/restic/web.east/data"


def test_reading_takes_no_lock() -> None:
    readers = (argv.snapshots(), argv.snapshot("a"), argv.tree("a", ""), argv.dump("a", "b"), argv.check(100))
    for call in (*readers, argv.restore("a", Path("/t"))):
        assert "--no-lock" in call


NAMES = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOTTED = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,8}[a-z0-9])?", fullmatch=True)
IDENTITIES = st.builds(Identity, cluster=st.just("") | DOTTED, namespace=NAMES, claim=DOTTED)


@given(IDENTITIES, IDENTITIES)
def test_two_identities_never_share_or_contain_a_folder(one: Identity, other: Identity) -> None:
    first, second = place.folder_of(one), place.folder_of(other)
    assert (first == second) is (one == other)
    assert one == other or not first.startswith(f"{second}/")


@pytest.mark.parametrize("claim", ["..", ".", "", "a/b", "a b", "-x", "x" * 254])
def test_what_kubernetes_would_not_allow_names_no_folder(claim: str) -> None:
    with pytest.raises(EngineFailure) as caught:
        place.folder_of(Identity(namespace="web", claim=claim))
    assert caught.value.failure.kind is FailureKind.BAD_ORDER


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_tags_come_back_as_they_were_and_hold_no_comma(tags: dict[str, str]) -> None:
    texts = [argv.tag(name, value) for name, value in tags.items()]
    assert argv.tags_of(texts) == tags
    assert not any("," in text for text in texts)


@given(
    st.builds(
        RootAttributes,
        mode=st.integers(0, 0o7777),
        uid=st.integers(0, 2**32 - 1),
        gid=st.integers(0, 2**32 - 1),
        mtime_ns=st.integers(-(2**62), 2**62),
        xattrs=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.binary()),
    )
)
def test_a_roots_attributes_come_back_as_they_were(attributes: RootAttributes) -> None:
    assert root.parse(root.render(attributes)) == attributes


@pytest.mark.parametrize("text", ["", "755", "755:0:0:x", "9:0:0:0", "755:0:0:0:user.a=!"])
def test_attributes_that_cannot_be_read_are_damage(text: str) -> None:
    with pytest.raises(EngineFailure) as caught:
        root.parse(text)
    assert caught.value.failure.kind is FailureKind.DAMAGED


def test_a_directory_is_given_what_was_read_of_another(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir(mode=0o2751)
    source.chmod(0o2751)
    target.mkdir()
    root.apply(root.parse(root.render(root.read(source))), target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o2751
    assert target.stat().st_mtime_ns == source.stat().st_mtime_ns


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.tmp", "*.tmp"),
        ("cache/", "cache"),
        ("/cache", r"/mnt/a\[1]/cache"),
        ("deep/skip/", r"/mnt/a\[1]/deep/skip"),
        ("**/logs", r"/mnt/a\[1]/**/logs"),
    ],
)
def test_patterns_start_at_the_volumes_root(pattern: str, expected: str) -> None:
    assert argv.anchored(pattern, Path("/mnt/a[1]")) == expected


@pytest.mark.parametrize(
    ("quoted", "name"),
    [
        ("plain", "plain"),
        (r"lat\xe9", "lat\udce9"),
        (r"two\nlines\t", "two\nlines\t"),
        (r"back\\slash \"quoted\"", 'back\\slash "quoted"'),
        (r"\u200b\U0001f600", "\u200b\U0001f600"),
        (r"\\xe9", r"\xe9"),
    ],
)
def test_names_are_read_as_go_wrote_them(quoted: str, name: str) -> None:
    assert parse.unquoted(quoted) == name


@pytest.mark.parametrize("text", [b"", b"{}", b"null", b'[{"id":1}]', b'[{"id":"a"}]', b"[", b"\xff"])
def test_a_list_that_cannot_be_read_is_no_empty_list(text: bytes) -> None:
    with pytest.raises(EngineFailure) as caught:
        parse.snapshots(IDENTITY, text)
    assert caught.value.failure.kind is FailureKind.UNKNOWN


def test_a_snapshot_without_counts_is_named() -> None:
    text = b'[{"id":"abc","time":"2026-11-25T03:58:45.401039931+01:00","program_version":"restic 0.16.4"}]'
    with pytest.raises(EngineFailure) as caught:
        parse.snapshots(IDENTITY, text)
    assert "abc, made by restic 0.16.4" in caught.value.failure.detail


def test_progress_is_read_from_lines_for_programs_and_for_people() -> None:
    line = '{"message_type":"status","percent_done":0.5,"total_files":4,"files_done":2,"total_bytes":9,"bytes_done":5}'
    progress = parse.progress(line)
    assert (progress.files_done, progress.files_total, progress.bytes_done, progress.bytes_total) == (2, 4, 5, 9)
    step = parse.step("[0:05] 12.00%  3 / 25 packs")
    assert step is not None
    assert (step.files_done, step.files_total) == (3, 25)
    assert parse.step("no errors were found") is None
