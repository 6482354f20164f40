"""Where an identity's own objects lie in a storage, for engines that keep each identity apart.

A folder of constant depth: were it `cluster/namespace/claim`, the history of cluster `a`, namespace `b`, claim `data`
would lie inside that of namespace `a`, claim `b`, and deleting one would delete the other.
"""

import re
from typing import Final

from holdfast.engines.protocol import EngineFailure
from holdfast.model.claim import Identity
from holdfast.model.failure import FailureKind

_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


def host_of(identity: Identity) -> str:
    """Return `<namespace>` or `<namespace>.<cluster>`: a namespace has no dot, so the first one separates."""
    return f"{identity.namespace}.{identity.cluster}" if identity.cluster else identity.namespace


def is_usable(identity: Identity) -> bool:
    """Tell whether the identity can name a history: parts as in Kubernetes, no dot in the namespace."""
    parts = (identity.namespace, identity.claim, *((identity.cluster,) if identity.cluster else ()))
    return "." not in identity.namespace and all(_PART.fullmatch(part) for part in parts)


def folder_of(identity: Identity) -> str:
    """Return `<namespace>[.<cluster>]/<claim>`: never ambiguous, never nested; BAD_ORDER for an unusable name."""
    if not is_usable(identity):
        raise EngineFailure(FailureKind.BAD_ORDER, f"{str(identity)!r} cannot be the name of a history")
    return f"{host_of(identity)}/{identity.claim}"
