"""What a StorageClass's annotations say of its volumes, read strictly."""

from collections.abc import Mapping
from typing import Final

from holdfast.decide import intent
from holdfast.model.copying import ClassSettings
from holdfast.model.intent import CLASS_ANNOTATIONS, PREFIX, CopyMethod, Problem

ACCESS_MODES: Final = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")  # all of Kubernetes'


def read(name: str, annotations: Mapping[str, str]) -> ClassSettings | Problem:
    """Return the settings, or what is wrong with the first that cannot be read: no default stands in for it."""
    written = {key: annotations.get(PREFIX + key, "").strip() for key in CLASS_ANNOTATIONS}
    method = intent.copy_method(written["copy-method"] or CopyMethod.AUTO)
    if method is None:
        return _problem(name, "copy-method", f"{written['copy-method']!r} is none of {', '.join(CopyMethod)}")
    modes = tuple(word.strip() for word in written["access-modes"].split(",") if word.strip())
    if not set(modes) <= set(ACCESS_MODES):
        return _problem(name, "access-modes", f"{written['access-modes']!r} is no list of {', '.join(ACCESS_MODES)}")
    if written["alias"].lower() not in ("", "true", "false"):
        return _problem(name, "alias", f'{written["alias"]!r} is neither "true" nor "false"')
    return ClassSettings(
        copy_method=method,
        snapshot_class=written["snapshot-class"] or None,
        access_modes=modes,
        alias=written["alias"].lower() != "false",
    )


def _problem(name: str, key: str, what: str) -> Problem:
    return Problem(where=f"annotation {PREFIX}{key} of StorageClass {name}", what=f"{what}; not backed up until then")
