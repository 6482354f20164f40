"""Images as OCI archives, written by the standard library: equal content gives equal bytes."""

import hashlib
import io
import json
import os
import platform
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


def write(reference: str, target: Path, *, layers: Sequence[Path], settings: Mapping[str, Any]) -> None:
    """Write an image of one layer for each directory; `settings` are Entrypoint, Env, User and so on.

    All files belong to root and are of 1970, so that only what they contain and their modes count.
    """
    architecture = ARCHITECTURES[platform.machine()]
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        blobs = _Blobs(Path(directory))
        parts = [blobs.layer(layer) for layer in layers]
        configuration = {
            "architecture": architecture,
            "os": "linux",
            "config": dict(settings),
            "rootfs": {"type": "layers", "diff_ids": [part["digest"] for part in parts]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": _media("manifest.v1+json"),
            "config": blobs.document("config.v1+json", configuration),
            "layers": parts,
        }
        index = {
            "schemaVersion": 2,
            "mediaType": _media("index.v1+json"),
            "manifests": [
                blobs.document("manifest.v1+json", manifest)
                | {"annotations": {"io.containerd.image.name": reference}}
                | {"platform": {"os": "linux", "architecture": architecture}}
            ],
        }
        unfinished = target.with_name(f".{target.name}.new")
        with tarfile.open(unfinished, "w") as archive:
            _add_text(archive, "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}))
            _add_text(archive, "index.json", json.dumps(index))
            for path in sorted(Path(directory).iterdir()):
                archive.add(path, f"blobs/sha256/{path.name}", filter=_anonymous)
        unfinished.replace(target)


class _Blobs:
    """Files named by their digest."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def layer(self, content: Path) -> dict[str, Any]:
        path = self._directory / "unfinished"
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
            for each in _walk(content):
                archive.add(each, str(each.relative_to(content)), recursive=False, filter=_anonymous)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return self._described("layer.v1.tar", path.replace(self._directory / digest))

    def document(self, media: str, content: object) -> dict[str, Any]:
        data = json.dumps(content, sort_keys=True).encode()
        path = self._directory / hashlib.sha256(data).hexdigest()
        path.write_bytes(data)
        return self._described(media, path)

    def _described(self, media: str, path: Path) -> dict[str, Any]:
        return {"mediaType": _media(media), "digest": f"sha256:{path.name}", "size": path.stat().st_size}


def _walk(directory: Path) -> Iterator[Path]:
    """Yield everything below the directory, sorted, each directory before what is in it."""
    for entry in sorted(os.scandir(directory), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _add_text(archive: tarfile.TarFile, name: str, text: str) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(text)
    member.mode = 0o644
    archive.addfile(member, io.BytesIO(text.encode()))


def _media(kind: str) -> str:
    return f"application/vnd.oci.image.{kind}"
