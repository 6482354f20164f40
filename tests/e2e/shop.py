"""A shop whose apps write down what they find at their very first start, so that nobody can bring data in later."""

import json
import os
import random
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from holdfast.model.repository import EngineKind
from tests.cluster import places, processes
from tests.cluster.kubectl import kubectl
from tests.e2e import town
from tests.e2e.test_cluster import claim
from tests.support import trees
from tests.support.trees import Described

NAME: Final = "shop"
DATABASE: Final = "data-db-0"  # the claim of the StatefulSet
CLAIMS: Final = ("owners", "links", "many", "large", DATABASE)
NEWCOMER: Final = "newcomer"  # has never been backed up
HERE: Final = f"--namespace={NAME}"
PATIENCE: Final = timedelta(seconds=300)

# Of this machine, since a container of busybox has no find(1) with -printf.
TOOLS: Final = tuple(path for path in ("/usr", "/lib", "/lib64") if Path(path).exists())
# Only the first start counts: a later one finds its directory there. Then it writes, as apps do on what they find.
START: Final = f"""
if mkdir "/seen/$CLAIM"; then
  touch "/seen/$CLAIM/started"
  cd /data
  /usr/bin/find . -printf '{trees.FORM}' > "/seen/$CLAIM/names"
  /usr/bin/find . -type f -print0 |
    /usr/bin/xargs --null --no-run-if-empty /usr/bin/sha256sum --zero -- > "/seen/$CLAIM/sums"
  date >> starts
  touch "/seen/$CLAIM/done"
fi
exec sleep 2147483647
"""

Contents = Mapping[bytes, Described]
Json = dict[str, Any]


class Shop:
    """Labelled claims and an app on each; what the apps find goes to the directory `seen`."""

    def __init__(self, seen: Path) -> None:
        self._seen = seen
        self._volumes = town.App(NAME)

    def manifests(self, *names: str, **spec: Any) -> list[Json]:
        """Return the shop as it lies in Git, with these claims. `spec`: what every claim says besides."""
        made: list[Json] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAME}}]
        for name in names:
            if name == DATABASE:
                made.append(self._app("StatefulSet", "db", name, volumeClaimTemplates=[labelled("data", **spec)]))
            else:
                app = self._app("Deployment", name, name, strategy={"type": "Recreate"})
                made += [_inside(labelled(name, **spec)), app]
        return made

    def _app(self, kind: str, name: str, on: str, **spec: Any) -> Json:
        paths = {"seen": str(self._seen), **{path.strip("/"): path for path in TOOLS}}
        volumes: list[Json] = [{"name": each, "hostPath": {"path": path}} for each, path in paths.items()]
        if kind != "StatefulSet":
            volumes.append({"name": "data", "persistentVolumeClaim": {"claimName": on}})
        mounts: list[Json] = [{"name": each, "mountPath": f"/{each}"} for each in ("data", "seen")]
        mounts += [{"name": path.strip("/"), "mountPath": path, "readOnly": True} for path in TOOLS]
        container = {
            "name": "main",
            "image": places.TOOLBOX_IMAGE,
            "command": ["sh", "-euc", START],
            "env": [{"name": "CLAIM", "value": on}],
            "volumeMounts": mounts,
        }
        pod = {"terminationGracePeriodSeconds": 1, "containers": [container], "volumes": volumes}
        template = {"metadata": {"labels": {"app": name}}, "spec": pod}
        selected = {"selector": {"matchLabels": {"app": name}}, "template": template}
        return _inside({"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": selected | spec})

    # What is in the volumes

    def stock(self) -> None:
        """Fill the volumes with everything but mass."""
        trees.build(self._volume("owners"))
        _link(self._volume("links"))
        database = self._volume(DATABASE)
        for number in range(8):
            (database / f"segment-{number}").write_bytes(random.Random(number).randbytes(1 << 20))
        for path in (database, *database.iterdir()):
            os.chown(path, 999, 999)
            path.chmod(0o700 if path == database else 0o600)

    def pile(self, *, files: int, megabytes: int) -> None:
        """Have so many small files, and one of so many MiB that neither compress nor repeat."""
        many, large = self._volume("many"), self._volume("large")
        for number in range(files):
            path = many / f"{number % 100:02}" / f"{number:05}"
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"{number}\n" * (number % 400))
        with (large / "disk.img").open("wb") as file:
            for _ in range(megabytes):
                file.write(os.urandom(1 << 20))

    def contents(self) -> Mapping[str, Contents]:
        return {each: trees.manifest(self._volume(each)) for each in CLAIMS}

    def _volume(self, name: str) -> Path:
        return self._volumes.volume(name)

    # What the apps find

    def wait_for_starts(self, *names: str) -> None:
        def all_told() -> bool:
            return all((self._seen / each / "done").exists() for each in names)

        processes.until(all_told, within=PATIENCE, what=f"the start of {', '.join(names)}")

    def found(self, name: str) -> Contents:
        """Return what the app on a claim found at its first start."""
        return trees.parse((self._seen / name / "names").read_bytes(), (self._seen / name / "sums").read_bytes())

    def started(self, *names: str) -> float:
        """Return when the last of the apps began, in seconds of the epoch."""
        return max((self._seen / each / "started").stat().st_mtime for each in names)

    def forget(self) -> None:
        """Let the next start of each app count as its first."""
        shutil.rmtree(self._seen)
        self._seen.mkdir()

    def assert_brought_back(self, before: Mapping[str, Contents], engine: EngineKind) -> None:
        """Fail unless each app found what was backed up, but for what the engine is known to lose."""
        for name, contents in before.items():
            given, got = _kept(contents, engine), _kept(self.found(name), engine)
            other = [(each, given.get(each), got.get(each)) for each in given.keys() | got.keys()]
            other = [each for each in other if each[1] != each[2]]
            assert not other, f"{name}: {len(other)} of {len(given)} names differ, such as {other[:3]}"

    def assert_empty(self, *names: str) -> None:
        for name in names:
            assert list(self.found(name)) == [b""], name


def labelled(name: str, **spec: Any) -> Json:
    size = {"resources": {"requests": {"storage": "3Gi" if name == "large" else "100Mi"}}}
    made = claim(name, **size, **spec)
    made["metadata"]["labels"] = {"backup": "manual"}
    return made


def _inside(made: Json) -> Json:
    made["metadata"]["namespace"] = NAME
    return made


def scale(replicas: int) -> None:
    """Start all apps, or stop them and wait for their end."""
    kubectl("scale", "deployments,statefulsets", "--all", HERE, f"--replicas={replicas}")
    if not replicas:
        gone = lambda: not kubectl("get", "pods", HERE, "--output=name")  # noqa: E731
        processes.until(gone, within=PATIENCE, what="the end of the apps")


def protections() -> Mapping[str, Json]:
    """Return the status of each claim's Protection."""
    listed = json.loads(kubectl("get", "protections", HERE, "--output=json"))["items"]
    return {each["metadata"]["name"]: each.get("status", {}) for each in listed}


def _kept(contents: Contents, engine: EngineKind) -> Contents:
    match engine:
        case EngineKind.KOPIA:  # no times of directories and links, no hard links
            plain = trees.without_times(contents, of=lambda each: each.kind in "dl")
            return {path: each if each.links is None else replace(each, links=1) for path, each in plain.items()}
        case EngineKind.RESTIC | EngineKind.MEMORY:
            return contents


def _link(root: Path) -> None:
    (root / "releases" / "1").mkdir(parents=True)
    (root / "releases" / "1" / "index").write_text("one\n")
    for name, target in {
        "current": "releases/1",
        "twice": "current/index",
        "absolute": "/data/releases",
        "dangling": "releases/2",
    }.items():
        (root / name).symlink_to(target)
    os.lchown(root / "dangling", 1000, 1000)
    (root / "name").write_text("of one file\n")
    os.link(root / "name", root / "another name")
