"""A claim that lacks its hold → may it be deleted and created again, and as what."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, assert_never

from holdfast.decide import admission
from holdfast.model.admission import Admission, Arm, LeaveAlone, Refuse, Unarmed
from holdfast.model.claim import Claim
from holdfast.model.rearm import Against, Obstacle
from holdfast.model.request import GROUP, KIND
from holdfast.model.verdict import Restore, StartEmpty, Verdict, Wait

# What the binder, the provisioner and the scheduler wrote; the rest of the annotations is a person's.
WRITTEN_BY_KUBERNETES: Final = ("pv.kubernetes.io/", "volume.kubernetes.io/", "volume.beta.kubernetes.io/")


def obstacles(
    claim: Claim, again: Admission, verdict: Verdict, pods: Sequence[str], *, born_unarmed: bool = False
) -> Iterator[Against]:
    """Yield everything that stands against it.

    `pods` are those that use the claim; `born_unarmed`: it is known to lack its data, whatever held it.
    """
    if admission.is_held(claim) and not born_unarmed:
        yield Against(why=Obstacle.HELD, what="it was created under Holdfast's hold: there is nothing to do")
        return
    match again:
        case LeaveAlone(why=Unarmed.NOT_PROTECTED):
            yield Against(why=Obstacle.NOT_PROTECTED, what="it is not protected", todo="Label it first")
        case LeaveAlone(why=Unarmed.HELD):
            what = f"class {claim.storage_class} ignores the hold that it has"
            yield Against(why=Obstacle.NEVER_ARMED, what=what, todo="Render the policies with --by-name and that class")
        case LeaveAlone(why=why):
            yield Against(why=Obstacle.NEVER_ARMED, what=f"claims like this one are never held ({why.value})")
        case Refuse(because=because):
            yield Against(why=Obstacle.NEVER_ARMED, what=because)
        case Arm():
            pass
        case _:
            assert_never(again)
    if claim.deleting:
        yield Against(why=Obstacle.DELETING, what="it is being deleted", todo="Create it again; it is held then")
    match verdict:
        case Restore():
            pass
        case StartEmpty():
            yield Against(why=Obstacle.NO_BACKUP, what="there is no backup that could come back")
        case Wait(detail=detail):
            yield Against(why=Obstacle.NO_BACKUP, what=f"nobody can tell which backup would come back: {detail}")
        case _:
            assert_never(verdict)
    if pods:
        users = ", ".join(pods)
        yield Against(why=Obstacle.IN_USE, what=f"in use by {users}", todo="Stop what runs them, for example by "
                      "scaling it to 0, and have your GitOps tool leave it so")  # fmt: skip


def manifest(stored: Mapping[str, Any], arm: Arm) -> dict[str, Any]:
    """Return the claim as it was written, without what Kubernetes made of it, and with our hold."""
    meta, spec = stored["metadata"], dict(stored["spec"])
    for name in ("volumeName", "dataSource", "dataSourceRef"):
        spec.pop(name, None)
    if arm.restore is not None:
        spec["dataSourceRef"] = {"apiGroup": GROUP, "kind": KIND, "name": arm.restore}
    if arm.volume is not None:
        spec["volumeName"] = arm.volume
    kept = {key: meta[key] for key in ("name", "namespace", "labels", "ownerReferences") if meta.get(key)}
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if not key.startswith(WRITTEN_BY_KUBERNETES)
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": kept | ({"annotations": annotations} if annotations else {}),
        "spec": spec,
    }
