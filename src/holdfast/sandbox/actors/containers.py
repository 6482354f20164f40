"""From a pod to what its process gets: command, environment, and its mounts as links below a root directory."""

import base64
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from holdfast.sandbox.actors.processes import Container
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json, at

_REFERENCE: Final = re.compile(r"\$\$|\$\((?P<name>[A-Za-z_][A-Za-z0-9_.-]*)\)")
_FIELDS: Final = frozenset(
    {"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "status.podIP", "status.hostIP"}
)


class CannotStart(Exception):
    """A container that cannot be started now: the reason as a kubelet names it, and a sentence."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """Where a pod lives on disk."""

    path: Path

    @property
    def root(self) -> Path:
        return self.path / "root"

    @property
    def log(self) -> Path:
        return self.path / "log"

    @property
    def termination(self) -> Path:
        return self.root / "dev" / "termination-log"


def prepare(store: Store, pod: Json, home: Home, base: dict[str, str]) -> Container:
    """Lay out the pod's root directory and return what to start; raise CannotStart.

    Mounts are symbolic links, so a read-only mount can be written here.
    """
    container = _only_container(pod)
    for directory in (home.root / "dev", home.root / "tmp"):
        directory.mkdir(parents=True, exist_ok=True)
    _mount(store, pod, container, home)
    environment = _environment(store, pod, container, base | _own(home))
    return Container(
        command=_command(container, environment),
        environment=environment,
        directory=home.root,
        log=home.log,
    )


def _only_container(pod: Json) -> Json:
    containers = pod["spec"]["containers"]
    if len(containers) != 1 or pod["spec"].get("initContainers"):
        raise CannotStart(
            "CreateContainerError", "the sandbox runs pods of exactly one container, without init containers"
        )
    found: Json = containers[0]
    return found


def _own(home: Home) -> dict[str, str]:
    temporary = str(home.root / "tmp")
    return {"HOLDFAST_ROOT": str(home.root), "HOME": temporary, "TMPDIR": temporary}


def _command(container: Json, environment: Mapping[str, str]) -> tuple[str, ...]:
    command, args = container.get("command") or [], container.get("args") or []
    if not command:
        if not container["image"].rpartition("/")[2].startswith("holdfast"):
            message = f"the sandbox has no images: container {container['name']} needs a command"
            raise CannotStart("ErrImagePull", message)
        command = [sys.executable, "-m", "holdfast"]
    return tuple(_expanded(each, environment) for each in (*command, *args))


def _environment(store: Store, pod: Json, container: Json, base: Mapping[str, str]) -> dict[str, str]:
    result = dict(base)
    for entry in container.get("env") or ():
        value = _value(store, pod, entry)
        if value is not None:
            result[entry["name"]] = _expanded(value, result)
    return result


def _value(store: Store, pod: Json, entry: Json) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return str(entry.get("value", ""))
    if "fieldRef" in source:
        path = source["fieldRef"]["fieldPath"]
        if path not in _FIELDS:
            raise CannotStart("CreateContainerConfigError", f"field {path} is not known to the sandbox")
        return str(at(pod, *path.split(".")) or "")
    for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if key in source:
            return _referred(store, pod, kind, source[key])
    raise CannotStart(
        "CreateContainerConfigError", f"env {entry['name']}: {sorted(source)} is not known to the sandbox"
    )


def _referred(store: Store, pod: Json, kind: str, reference: Json) -> str | None:
    data = _data(store, pod["metadata"]["namespace"], kind, reference["name"])
    if data is not None and reference["key"] in data:
        return data[reference["key"]].decode("utf-8", "surrogateescape")
    if reference.get("optional"):
        return None
    what = f'{kind.lower()} "{reference["name"]}" not found'
    if data is not None:
        what = f"couldn't find key {reference['key']} in {kind} {pod['metadata']['namespace']}/{reference['name']}"
    raise CannotStart("CreateContainerConfigError", what)


def _data(store: Store, namespace: str, kind: str, name: str) -> dict[str, bytes] | None:
    item = store.find(store.kind_named(kind), namespace, name)
    if item is None:
        return None
    data = item.get("data") or {}
    if kind == "Secret":
        return {key: base64.b64decode(value) for key, value in data.items()}
    return {key: value.encode() for key, value in data.items()}


def _expanded(text: str, environment: Mapping[str, str]) -> str:
    """Return the text with `$(NAME)` replaced where NAME is known, and `$$` as `$`."""

    def replaced(found: re.Match[str]) -> str:
        name = found["name"]
        if name is None:
            return "$"
        return environment.get(name, found[0])

    return _REFERENCE.sub(replaced, text)


def _mount(store: Store, pod: Json, container: Json, home: Home) -> None:
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    mounts = sorted(container.get("volumeMounts") or (), key=lambda mount: str(mount["mountPath"]).count("/"))
    foreign: list[str] = []
    for mount in mounts:
        path = "/" + mount["mountPath"].strip("/")
        inside = next((each for each in foreign if path.startswith(f"{each}/")), None)
        if inside is not None:
            message = f"{path} lies inside the volume at {inside}: a link would be left in it"
            raise CannotStart("FailedMount", message)
        source = _source(store, pod, volumes[mount["name"]], home)
        if mount.get("subPath"):
            source = source / mount["subPath"]
            source.mkdir(parents=True, exist_ok=True)
        if "emptyDir" not in volumes[mount["name"]]:
            foreign.append(path)
        _link(home.root / path.lstrip("/"), source)


def _link(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink():
        link.unlink()
    elif link.is_dir():
        link.rmdir()  # made by us for a mount that lies deeper, or /tmp and /dev
    link.symlink_to(target)


def _source(store: Store, pod: Json, volume: Json, home: Home) -> Path:
    """Return the directory that stands for a volume."""
    here = Path(home.path, "volumes", volume["name"])
    if "persistentVolumeClaim" in volume:
        return _claim_directory(store, pod, volume["persistentVolumeClaim"]["claimName"])
    if "hostPath" in volume:
        return _host_directory(volume["hostPath"])
    if "emptyDir" in volume:
        here.mkdir(parents=True, exist_ok=True)
        here.chmod(0o777)
        return here
    for key, kind, name in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name")):
        if key in volume:
            return _files(store, pod, kind, volume[key][name], here, optional=bool(volume[key].get("optional")))
    kinds = sorted(volume.keys() - {"name"})
    raise CannotStart("FailedMount", f"volume {volume['name']}: {kinds} is not known to the sandbox")


def _claim_directory(store: Store, pod: Json, name: str) -> Path:
    claim = store.find(store.kind_named("PersistentVolumeClaim"), pod["metadata"]["namespace"], name)
    volume_name = at(claim, "spec", "volumeName")
    volume = store.find(store.kind_named("PersistentVolume"), "", volume_name) if volume_name else None
    if volume is None or at(claim, "status", "phase") != "Bound":
        raise CannotStart("FailedMount", f"claim {name} is not bound")
    source = at(volume, "spec", "hostPath") or at(volume, "spec", "local")
    if source is None:
        raise CannotStart("FailedMount", f"volume {volume_name} is no directory of this machine")
    return _host_directory({"type": "Directory", **source})


def _host_directory(source: Json) -> Path:
    path = Path(source["path"])
    match source.get("type") or "":
        case "DirectoryOrCreate":
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        case "Directory" if not path.is_dir():
            raise CannotStart("FailedMount", f"hostPath type check failed: {path} is not a directory")
        case "" | "Directory" if path.exists():
            pass
        case _:
            raise CannotStart("FailedMount", f"hostPath {path} of type {source.get('type')!r} cannot be mounted")
    return path


def _files(store: Store, pod: Json, kind: str, name: str, here: Path, *, optional: bool) -> Path:
    data = _data(store, pod["metadata"]["namespace"], kind, name)
    if data is None and not optional:
        raise CannotStart("FailedMount", f'{kind.lower()} "{name}" not found')
    here.mkdir(parents=True, exist_ok=True)
    for key, content in (data or {}).items():
        file = here / key
        if file.exists():
            file.chmod(0o600)
        file.touch(mode=0o600)
        file.write_bytes(content)
        file.chmod(0o400 if kind == "Secret" else 0o444)
    return here
