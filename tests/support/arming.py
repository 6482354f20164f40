"""One table of admission cases: for the pure rule, the sandbox, and a real API server under the rendered policies."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx2

from holdfast.decide import admission
from holdfast.kube import manifest
from holdfast.model.admission import Arm, LeaveAlone, Refuse, Rule, Unarmed

Json = dict[str, Any]

OWN: Final = "holdfast"
RULE: Final = Rule(own_namespace=OWN, by_name=("local-path", "hand"))
# Namespaces of the cases, with their labels.
NAMESPACES: Final[Mapping[str, Mapping[str, str]]] = {
    "apps": {},
    "daily": {"backup": "daily"},
    "odd": {"backup": "fortnightly"},
    "off": {"backup": "dIsAbLeD"},
    OWN: {"backup": "daily"},
}
OURS: Final = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"}
MINE: Final = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "mine"}
THEIRS: Final = MINE | {"namespace": "daily"}
CLONE: Final = {"kind": "PersistentVolumeClaim", "name": "other"}
SNAPSHOT: Final = {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "s"}
DAILY: Final = {"backup": "daily"}
LONG: Final = "n" * 87  # holdfast.apps. and this: 101 characters


def owner(api_version: str, kind: str, *, controller: bool = True) -> Json:
    made = {"apiVersion": api_version, "kind": kind, "name": "o", "uid": "6f2ee2e8-1f0a-4a5c-9d6e-000000000001"}
    return made | ({"controller": True} if controller else {})


POD: Final = owner("v1", "Pod")
STATEFUL: Final = owner("apps/v1", "StatefulSet")
BESIDE: Final = owner("v1", "ConfigMap", controller=False)
DATABASE: Final = owner("postgresql.cnpg.io/v1", "Cluster")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A claim that is created, and what the rule does: `Arm`, the reason to leave it alone, or a refusal."""

    name: str
    expected: Arm | Unarmed | type[Refuse]
    namespace: str = "apps"
    claim: str = "data"
    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    owners: tuple[Json, ...] = ()
    spec: Mapping[str, Any] = field(default_factory=dict)

    def manifest(self) -> Json:
        return claim(
            self.claim,
            self.namespace,
            labels=self.labels,
            annotations=self.annotations,
            owners=self.owners,
            **self.spec,
        )


def claim(
    name: str,
    namespace: str,
    *,
    labels: Mapping[str, Any] | None = None,
    annotations: Mapping[str, str] | None = None,
    owners: tuple[Json, ...] = (),
    **spec: Any,
) -> Json:
    """Return a claim's manifest; "" as name asks the API server for one."""
    meta: Json = {"namespace": namespace} | ({"name": name} if name else {"generateName": "made-"})
    if labels is not None:
        meta["labels"] = dict(labels)
    if annotations is not None:
        meta["annotations"] = dict(annotations)
    if owners:
        meta["ownerReferences"] = list(owners)
    plain: Json = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "64Mi"}},
        "storageClassName": "standard",
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": meta, "spec": plain | spec}


REFERRED: Final = Arm(restore="auto")
NAMED: Final = Arm(volume="holdfast.apps.data")
PATH: Final[Mapping[str, Any]] = {"storageClassName": "local-path"}
INSISTS: Final = {"holdfast.dev/restore": "auto"}

CREATES: Final = (
    # Who is armed.
    Case(name="own label", labels=DAILY, expected=REFERRED),
    Case(name="own label, unreadable", labels={"backup": "fortnightly"}, expected=REFERRED),
    Case(name="own label, empty", labels={"backup": ""}, expected=REFERRED),
    Case(name="own label, generateName", claim="", labels=DAILY, expected=REFERRED),
    Case(name="own label beside an exemption", labels=DAILY | {"backup-exempt": "true"}, expected=REFERRED),
    Case(name="own label, other labels and annotations", labels=DAILY | {"app": "x"}, annotations={"a": "b"},
         expected=REFERRED),
    Case(name="own label in a namespace that is off", namespace="off", labels=DAILY, expected=REFERRED),
    Case(name="no class named", labels=DAILY, spec={"storageClassName": None}, expected=REFERRED),
    Case(name="volumeMode Filesystem", labels=DAILY, spec={"volumeMode": "Filesystem"}, expected=REFERRED),
    Case(name="namespace label", namespace="daily", expected=REFERRED),
    Case(name="namespace label, no labels at all", namespace="daily", labels={}, expected=REFERRED),
    Case(name="namespace label, unreadable", namespace="odd", expected=REFERRED),
    Case(name="StatefulSet's", labels=DAILY, owners=(STATEFUL,), expected=REFERRED),
    Case(name="StatefulSet's, by namespace", namespace="daily", owners=(STATEFUL,), expected=REFERRED),
    Case(name="owned, not controlled", labels=DAILY, owners=(BESIDE,),
         expected=REFERRED),
    Case(name="an operator's that insists", labels=DAILY, owners=(DATABASE,), annotations=INSISTS, expected=REFERRED),
    # Who is not asked for.
    Case(name="no label", expected=Unarmed.NOT_PROTECTED),
    Case(name="another label", labels={"app": "x"}, expected=Unarmed.NOT_PROTECTED),
    Case(name="disabled", labels={"backup": "disabled"}, expected=Unarmed.NOT_PROTECTED),
    Case(name="Off", labels={"backup": "Off"}, expected=Unarmed.NOT_PROTECTED),
    Case(name="no", labels={"backup": "no"}, expected=Unarmed.NOT_PROTECTED),
    Case(name="FALSE", labels={"backup": "FALSE"}, expected=Unarmed.NOT_PROTECTED),
    Case(name="disabled in a labelled namespace", namespace="daily", labels={"backup": "disabled"},
         expected=Unarmed.NOT_PROTECTED),
    Case(name="exempt in a labelled namespace", namespace="daily", labels={"backup-exempt": "true"},
         expected=Unarmed.NOT_PROTECTED),
    Case(name="namespace that is off", namespace="off", expected=Unarmed.NOT_PROTECTED),
    # Who makes its claims itself.
    Case(name="Holdfast's namespace", namespace=OWN, labels=DAILY, expected=Unarmed.MADE_BY_TOOL),
    Case(name="Holdfast's namespace by its label", namespace=OWN, expected=Unarmed.MADE_BY_TOOL),
    Case(name="Holdfast's", labels=DAILY | {"app.kubernetes.io/managed-by": "holdfast"},
         expected=Unarmed.MADE_BY_TOOL),
    Case(name="VolSync's", labels=DAILY | {"app.kubernetes.io/created-by": "volsync"}, expected=Unarmed.MADE_BY_TOOL),
    Case(name="CDI's", labels=DAILY | {"app.kubernetes.io/managed-by": "cdi-controller"},
         expected=Unarmed.MADE_BY_TOOL),
    Case(name="restored by Velero", labels=DAILY | {"velero.io/restore-name": "r-1"}, expected=Unarmed.MADE_BY_TOOL),
    Case(name="Velero's in a labelled namespace", namespace="daily",
         labels={"app.kubernetes.io/managed-by": "velero"}, expected=Unarmed.MADE_BY_TOOL),
    Case(name="managed by Helm", labels=DAILY | {"app.kubernetes.io/managed-by": "Helm"}, expected=REFERRED),
    Case(name="an ephemeral volume", labels=DAILY, owners=(POD,), expected=Unarmed.OPERATED),
    Case(name="an ephemeral volume that insists", labels=DAILY, owners=(POD,), annotations=INSISTS,
         expected=Unarmed.OPERATED),
    Case(name="an operator's", labels=DAILY, owners=(DATABASE,), expected=Unarmed.OPERATED),
    Case(name="an operator's that does not insist", labels=DAILY, owners=(DATABASE,),
         annotations={"holdfast.dev/restore": "required"}, expected=Unarmed.OPERATED),
    Case(name="an operator's by namespace, though it insists", namespace="daily", owners=(DATABASE,),
         annotations=INSISTS, expected=Unarmed.OPERATED),
    Case(name="a false StatefulSet's", labels=DAILY, owners=(owner("apps.kruise.io/v1", "StatefulSet"),),
         expected=Unarmed.OPERATED),
    # What cannot be held, or has a source.
    Case(name="Block", labels=DAILY, spec={"volumeMode": "Block"}, expected=Unarmed.BLOCK),
    Case(name="a selector", labels=DAILY, spec={"selector": {"matchLabels": {"a": "b"}}}, expected=Unarmed.STATIC),
    Case(name="no class", labels=DAILY, spec={"storageClassName": ""}, expected=Unarmed.STATIC),
    Case(name="a volume named", labels=DAILY, spec={"volumeName": "pv-1"}, expected=Unarmed.STATIC),
    Case(name="another's reserved volume", labels=DAILY, spec={"volumeName": "holdfast.apps.other"},
         expected=Unarmed.STATIC),
    Case(name="Block in a labelled namespace", namespace="daily", spec={"volumeMode": "Block"},
         expected=Unarmed.BLOCK),
    Case(name="a clone", labels=DAILY, spec={"dataSource": CLONE}, expected=Unarmed.HAS_SOURCE),
    Case(name="a clone by reference", labels=DAILY, spec={"dataSourceRef": CLONE}, expected=Unarmed.HAS_SOURCE),
    Case(name="from a VolumeSnapshot", namespace="daily", spec={"dataSource": SNAPSHOT}, expected=Unarmed.HAS_SOURCE),
    Case(name="held in Git", labels=DAILY, spec={"dataSourceRef": OURS}, expected=Unarmed.HELD),
    Case(name="a Restore named in Git", labels=DAILY, spec={"dataSourceRef": MINE}, expected=Unarmed.HELD),
    Case(name="a Restore named, no label", spec={"dataSourceRef": MINE}, expected=Unarmed.HELD),
    # The trap.
    Case(name="trap, no label", spec={"dataSource": MINE}, expected=Arm(restore="mine")),
    Case(name="trap, own label", labels=DAILY, spec={"dataSource": OURS}, expected=REFERRED),
    Case(name="trap, namespace label", namespace="daily", spec={"dataSource": MINE}, expected=Arm(restore="mine")),
    Case(name="trap, disabled", labels={"backup": "disabled"}, spec={"dataSource": MINE},
         expected=Arm(restore="mine")),
    # The other one: a reference into another namespace, which the API server drops as well.
    Case(name="another namespace's Restore, no label", spec={"dataSourceRef": THEIRS}, expected=Arm(restore="mine")),
    Case(name="another namespace's Restore, own label", labels=DAILY, spec={"dataSourceRef": THEIRS},
         expected=Arm(restore="mine")),
    # By name.
    Case(name="by name", labels=DAILY, spec=PATH, expected=NAMED),
    Case(name="by name, the second class", labels=DAILY, spec={"storageClassName": "hand"}, expected=NAMED),
    Case(name="by name, by namespace", namespace="daily", spec=PATH, expected=Arm(volume="holdfast.daily.data")),
    Case(name="by name, a name with dots", claim="a.b-c", labels=DAILY, spec=PATH,
         expected=Arm(volume="holdfast.apps.a.b-c")),
    Case(name="by name, generateName", claim="", labels=DAILY, spec=PATH, expected=Unarmed.NAMELESS),
    Case(name="by name, no label", spec=PATH, expected=Unarmed.NOT_PROTECTED),
    Case(name="by name, a StatefulSet's", claim="data-web-0", labels=DAILY, owners=(STATEFUL,), spec=PATH,
         expected=Arm(volume="holdfast.apps.data-web-0")),
    Case(name="by name, an operator's", labels=DAILY, owners=(DATABASE,), spec=PATH, expected=Unarmed.OPERATED),
    Case(name="by name, in Git already", labels=DAILY, spec={**PATH, "volumeName": "holdfast.apps.data"},
         expected=Unarmed.HELD),
    Case(name="by name, referred to in Git", labels=DAILY, spec={**PATH, "dataSourceRef": OURS}, expected=NAMED),
    Case(name="by name, a Restore named, no label", spec={**PATH, "dataSourceRef": MINE}, expected=NAMED),
    Case(name="by name, a Restore named, no name", claim="", spec={**PATH, "dataSourceRef": MINE},
         expected=Unarmed.HELD),
    Case(name="by name, trap", spec={**PATH, "dataSource": MINE},
         expected=Arm(restore="mine", volume="holdfast.apps.data")),
    Case(name="by name, another namespace's Restore", spec={**PATH, "dataSourceRef": THEIRS},
         expected=Arm(restore="mine", volume="holdfast.apps.data")),
    Case(name="by name, Block", labels=DAILY, spec={**PATH, "volumeMode": "Block"}, expected=Unarmed.BLOCK),
    Case(name="by name, a clone", labels=DAILY, spec={**PATH, "dataSource": CLONE}, expected=Unarmed.HAS_SOURCE),
    Case(name="by name, as long as it may be", claim=LONG[1:], labels=DAILY, spec=PATH,
         expected=Arm(volume=f"holdfast.apps.{LONG[1:]}")),
    Case(name="by name, too long", claim=LONG, labels=DAILY, spec=PATH, expected=Refuse),
    Case(name="by reference, as long as it likes", claim=LONG, labels=DAILY, expected=REFERRED),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """A held claim, and a change of it by merge patch (None removes); its hold must be as before."""

    name: str
    spec: Mapping[str, Any]
    change: Json
    labels: Mapping[str, str] | None = field(default_factory=lambda: dict(DAILY))
    put: bool = False  # the change is put in the place of the object, as `kubectl replace` does


UPDATES: Final = (
    Update(name="label removed", spec={}, change={"metadata": {"labels": {"backup": None}}}),
    Update(name="reference removed", spec={}, change={"spec": {"dataSourceRef": None}}),
    Update(name="both references removed", spec={}, change={"spec": {"dataSourceRef": None, "dataSource": None}}),
    Update(name="another Restore", spec={}, change={"spec": {"dataSourceRef": MINE}}),
    Update(name="another kind", spec={}, change={"spec": {"dataSourceRef": CLONE}}),
    Update(name="a named Restore removed", spec={"dataSourceRef": MINE}, labels=None,
           change={"spec": {"dataSourceRef": None, "dataSource": None}}),
    Update(name="replaced by what is in Git", spec={}, change={}, put=True),
    Update(name="replaced without the label", spec={}, change={"metadata": {"labels": None}}, put=True),
    Update(name="annotated", spec={}, change={"metadata": {"annotations": {"a": "b"}}}),
    Update(name="by name, volume removed", spec=PATH, change={"spec": {"volumeName": None}}),
    Update(name="by name, another volume", spec=PATH, change={"spec": {"volumeName": "pv-1"}}),
    Update(name="by name, replaced by what is in Git", spec=PATH, change={}, put=True),
    Update(name="by name, label removed", spec=PATH, change={"metadata": {"labels": {"backup": None}}}),
    Update(name="trap by name, all removed", spec={**PATH, "dataSource": MINE}, labels=None,
           change={"spec": {"dataSourceRef": None, "dataSource": None, "volumeName": None}}),
)  # fmt: skip


def drawn(seed: int, count: int) -> tuple[Case, ...]:
    """Return claims put together at random, each with what the pure rule says of it."""
    draw = random.Random(seed)
    sources: tuple[Mapping[str, Any], ...] = (
        {}, {}, {}, {"dataSource": OURS}, {"dataSource": MINE}, {"dataSource": CLONE}, {"dataSourceRef": OURS},
        {"dataSourceRef": MINE}, {"dataSourceRef": SNAPSHOT}, {"dataSource": MINE, "dataSourceRef": MINE},
    )  # fmt: skip
    values = ("daily", "Daily", "", "off", "NO", "disabled", "x")
    more = ("app", "backup-exempt", "velero.io/restore-name")
    tools = ("holdfast", "Helm", "velero")
    made = []
    for number in range(count):
        labels = {"backup": draw.choice(values)} if draw.random() < 0.6 else {}
        labels |= {key: "true" for key in more if draw.random() < 0.1}
        labels |= {"app.kubernetes.io/managed-by": draw.choice(tools)} if draw.random() < 0.15 else {}
        spec: Json = {"storageClassName": draw.choice(("standard", "standard", "local-path", "hand", "", None))}
        spec |= draw.choice(sources)
        spec |= {"volumeMode": "Block"} if draw.random() < 0.1 else {}
        spec |= {"selector": {"matchLabels": {"a": "b"}}} if draw.random() < 0.1 else {}
        if draw.random() < 0.15:
            spec["volumeName"] = draw.choice(("pv-1", "holdfast.apps.data", "holdfast.daily.data"))
        found = Case(
            name=f"drawn {number}",
            expected=Unarmed.NOT_PROTECTED,
            namespace=draw.choice(tuple(NAMESPACES)),
            claim=draw.choice(("data", "data", "data", "a.b", "", LONG)),
            labels=labels or draw.choice((None, {})),
            annotations=draw.choice((None, {}, INSISTS, {"a": "b"})),
            owners=draw.choice(((), (), (POD,), (STATEFUL,), (DATABASE,), (BESIDE, STATEFUL), (BESIDE,))),
            spec=spec,
        )
        decided = admission.on_create(manifest.creation(found.manifest(), NAMESPACES[found.namespace]), RULE)
        match decided:
            case Arm():
                made.append(replace(found, expected=decided))
            case LeaveAlone(why=why):
                made.append(replace(found, expected=why))
            case _:
                made.append(replace(found, expected=Refuse))
    return tuple(made)


def hold(item: Json) -> tuple[Json | None, str | None]:
    """Return what a claim is held by, as far as it is: the reference, and the volume's name."""
    spec = item["spec"]
    reference = spec.get("dataSourceRef")
    told = {key: value for key, value in reference.items() if value is not None} if reference is not None else None
    return told, spec.get("volumeName")


def expected_hold(case: Case) -> tuple[Json | None, str | None]:
    """Return the hold that the stored claim must have."""
    source, volume = case.spec.get("dataSource"), case.spec.get("volumeName")
    # A dataSource of a kind that the API server does not know is dropped.
    reference = case.spec.get("dataSourceRef") or (source if source in (CLONE, SNAPSHOT) else None)
    match case.expected:
        case Arm(restore=restore, volume=named):
            made = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": restore}
            return made if restore is not None else reference, named or volume
        case _:
            return reference, volume


# The same over HTTP, whoever answers.


def claims_path(namespace: str, name: str = "") -> str:
    return f"/api/v1/namespaces/{namespace}/persistentvolumeclaims" + (f"/{name}" if name else "")


async def furnish(http: httpx2.AsyncClient) -> None:
    """Make the namespaces of the cases."""
    for name, labels in NAMESPACES.items():
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels)}}
        answer = await http.post("/api/v1/namespaces", json=body)
        assert answer.status_code in (201, 409), answer.text


async def try_create(http: httpx2.AsyncClient, case: Case) -> None:
    """Create the case's claim in a dry run, and compare."""
    answer = await http.post(claims_path(case.namespace), params={"dryRun": "All"}, json=case.manifest())
    if case.expected is Refuse:
        assert answer.status_code in (403, 422), answer.text
        message = answer.json()["message"]
        assert "characters, more than 100" in message, message
        return
    assert answer.status_code == 201, answer.text
    found, wanted = hold(answer.json()), expected_hold(case)
    assert found == wanted, (found, wanted)


async def try_update(http: httpx2.AsyncClient, update: Update, name: str) -> None:
    """Create a claim, change it, and compare its hold with the one before."""
    written = claim(name, "apps", labels=update.labels, **update.spec)
    answer = await http.post(claims_path("apps"), json=written)
    assert answer.status_code == 201, answer.text
    before = hold(answer.json())
    assert before != (None, None)
    if update.put:
        labels = {} if update.change.get("metadata", {}).get("labels", "") is None else {"labels": update.labels}
        body = written | {"metadata": {"name": name, "namespace": "apps"} | labels}
        answer = await http.put(claims_path("apps", name), json=body)
    else:
        answer = await http.patch(
            claims_path("apps", name),
            content=json.dumps(update.change),
            headers={"Content-Type": "application/merge-patch+json"},
        )
    assert answer.status_code == 200, answer.text
    found = hold(answer.json())
    assert found == before, (found, before)
    await http.delete(claims_path("apps", name))


async def try_apply(http: httpx2.AsyncClient, name: str, **spec: Any) -> None:
    """Apply a claim as two GitOps tools do, again and again: its hold stays, and none of them owns it."""
    written = claim(name, "apps", labels=DAILY, **spec)
    before = None
    for manager, change in (("argo", {}), ("flux", {}), ("argo", {"a": "b"}), ("flux", {"c": "d"}), ("argo", {})):
        written["metadata"]["annotations"] = change
        answer = await http.patch(
            claims_path("apps", name),
            params={"fieldManager": manager, "force": "true"},
            content=json.dumps(written),
            headers={"Content-Type": "application/apply-patch+yaml"},
        )
        assert answer.status_code in (200, 201), answer.text
        item = answer.json()
        assert hold(item) == (before or hold(item)) != (None, None)
        before = hold(item)
        owned = {entry["manager"]: json.dumps(entry["fieldsV1"]) for entry in item["metadata"]["managedFields"]}
        assert not [each for each, fields in owned.items() if "dataSource" in fields or "volumeName" in fields], owned
    await http.delete(claims_path("apps", name))
