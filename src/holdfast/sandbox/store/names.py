"""What an API server demands of names, labels, annotations and finalizers."""

import re
from collections.abc import Iterator
from typing import Final

from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.refusal import Cause, required, wrong
from holdfast.sandbox.store.values import Json

_LABEL: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
_SUBDOMAIN: Final = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_WORD: Final = re.compile(r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
_ANNOTATIONS_BYTES: Final = 256 * 1024
_PLAIN_FINALIZERS: Final = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def faults(kind: Kind, metadata: Json) -> Iterator[Cause]:
    """Yield what is wrong with the metadata of an object."""
    yield from _name_faults(kind, metadata.get("name", ""))
    for key, value in (metadata.get("labels") or {}).items():
        yield from _key_faults("metadata.labels", key)
        if value and (len(value) > 63 or not _WORD.match(value)):
            yield wrong("metadata.labels", f'Invalid value: "{value}": must be a word of at most 63 characters')
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        yield from _key_faults("metadata.annotations", key)
    if sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items()) > _ANNOTATIONS_BYTES:
        yield Cause(
            reason="FieldValueTooLong", field="metadata.annotations", message=f"at most {_ANNOTATIONS_BYTES} bytes"
        )
    for finalizer in metadata.get("finalizers") or ():
        yield from _finalizer_faults(finalizer)
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for key in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(key):
                yield required(f"metadata.ownerReferences[{index}].{key}")


def _name_faults(kind: Kind, name: str) -> Iterator[Cause]:
    if not name:
        yield required("metadata.name")
        return
    short = kind.kind == "Namespace" and not kind.custom
    limit = 63 if short or (kind.kind == "Job" and not kind.custom) else 253
    if len(name) > limit or not (_LABEL if short else _SUBDOMAIN).match(name):
        yield wrong(
            "metadata.name", f'Invalid value: "{name}": must be a lower case DNS name of at most {limit} letters'
        )


def _key_faults(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, word = key.rpartition("/")
    if len(word) > 63 or not _WORD.match(word) or (slash and not _SUBDOMAIN.match(prefix.lower())):
        yield wrong(field, f'Invalid value: "{key}": must be a qualified name')


def _finalizer_faults(finalizer: str) -> Iterator[Cause]:
    if "/" not in finalizer and finalizer not in _PLAIN_FINALIZERS:
        yield wrong("metadata.finalizers", f'Invalid value: "{finalizer}": should be a fully qualified name')
    yield from _key_faults("metadata.finalizers", finalizer)
