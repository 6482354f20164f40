"""Whether a mover may work in an app's namespace: the one case in which a credential leaves Holdfast's own (P9)."""

from collections.abc import Mapping

from holdfast.model.intent import GUESTS
from holdfast.model.repository import ClaimStorage, EngineKind, Repository


def refusal(namespace: str, labels: Mapping[str, str], repository: Repository) -> str | None:
    """Return why no mover may work in the namespace, and what to do; None when an administrator has let it.

    Whoever may read Secrets in the namespace can take the credential from there, so it must open nothing else.
    """
    name = repository.name
    if labels.get(GUESTS) != "true":
        return (
            f"no mover may work in namespace {namespace}: what `holdfast render guest {namespace}` prints lets it, "
            "applied by an administrator"
        )
    if repository.engine is EngineKind.KOPIA:
        return f"Repository {name} is of kopia, which keeps all histories under one password: use one of restic"
    if repository.namespaces != (namespace,):
        return (
            f"the credentials of Repository {name} open the backups of other namespaces too: give {namespace} a "
            f"Repository of its own, with spec.namespaces [{namespace}]"
        )
    if isinstance(repository.storage, ClaimStorage):
        return f"Repository {name} is on a claim of Holdfast's namespace, which no pod of {namespace} can use"
    return None
