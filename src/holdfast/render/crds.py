"""The three kinds as CustomResourceDefinitions."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.model.request import AUTO, GROUP
from holdfast.render import names

VERSION: Final = "v1alpha1"
TEXT: Final = {"type": "string"}
TIME: Final = {"type": "string", "format": "date-time"}
COUNT: Final = {"type": "integer", "format": "int64"}
FLAG: Final = {"type": "boolean"}
TEXTS: Final = {"type": "array", "items": TEXT}


def definitions() -> tuple[dict[str, Any], ...]:
    """Return the CustomResourceDefinitions, as manifests."""
    return _repository(), _protection(), _restore()


def _object(properties: Mapping[str, Any], required: Sequence[str] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": dict(properties)}
    if required:
        schema["required"] = list(required)
    return schema


def _conditions() -> dict[str, Any]:
    condition = _object(
        {
            "type": TEXT,
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "reason": TEXT,
            "message": TEXT,
            "lastTransitionTime": TIME,
        },
        ["type", "status"],
    )
    return {
        "type": "array",
        "items": condition,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
    }


def _definition(
    kind: str,
    plural: str,
    scope: str,
    spec: Mapping[str, Any],
    status: Mapping[str, Any],
    columns: Sequence[tuple[str, str, str]],
    rules: Sequence[Mapping[str, str]] = (),
) -> dict[str, Any]:
    schema = _object({"spec": dict(spec), "status": dict(status)})
    if rules:
        schema["x-kubernetes-validations"] = [dict(rule) for rule in rules]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": names.metadata(f"{plural}.{GROUP}", None, "arming"),
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "categories": ["holdfast"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": type_, "jsonPath": path} for name, type_, path in columns
                    ],
                    "schema": {"openAPIV3Schema": schema},
                }
            ],
        },
    }


def _repository() -> dict[str, Any]:
    storage = _object(
        {
            "s3": _object(
                {
                    "endpoint": TEXT,
                    "bucket": TEXT,
                    "prefix": TEXT,
                    "region": TEXT,
                    "insecure": FLAG,
                    "virtualHost": FLAG,
                },
                ["endpoint", "bucket"],
            ),
            "filesystem": _object(
                {
                    "hostPath": TEXT,
                    "claim": _object({"name": TEXT, "path": TEXT}, ["name"]),
                    "nfs": _object({"server": TEXT, "path": TEXT}, ["server", "path"]),
                }
            ),
        }
    )
    # The engine is no enum here: an unknown one must reach the operator, which says what to do in the status.
    spec = _object(
        {
            "engine": TEXT,
            "storage": storage,
            "credentials": _object({"secretRef": _object({"name": TEXT}, ["name"])}, ["secretRef"]),
            "cluster": TEXT,
            "namespaces": TEXTS,
            "grants": {"type": "array", "items": _object({"from": TEXT, "to": TEXT}, ["from", "to"])},
            "repositoryID": TEXT,
            "initializeUntil": TEXT,
        },
        ["engine", "storage", "credentials"],
    )
    status = _object({"repositoryID": TEXT, "conditions": _conditions(), "claims": COUNT, "checked": TIME})
    ready = '.status.conditions[?(@.type=="Ready")]'
    columns = (
        ("Engine", "string", ".spec.engine"),
        ("Ready", "string", f"{ready}.status"),
        ("Reason", "string", f"{ready}.reason"),
        ("ID", "string", ".status.repositoryID"),
    )
    return _definition("Repository", "repositories", "Cluster", spec, status, columns)


def _protection() -> dict[str, Any]:
    plan = _object(
        {
            "repository": TEXT,
            "identity": TEXT,
            "schedule": TEXT,
            "scheduleFrom": TEXT,
            "restore": TEXT,
            "copyMethod": TEXT,
            "copyMethodFrom": TEXT,
            "nextRun": TIME,
        }
    )
    backup = _object(
        {
            "lastID": TEXT,
            "lastTime": TIME,
            "flags": TEXTS,
            "files": COUNT,
            "bytes": COUNT,
            "slot": TIME,
            "servedNow": TEXT,
            "attempt": COUNT,
            "retryAt": TIME,
            "failure": TEXT,
            "failedNow": TEXT,
            "running": TEXT,
            "lossy": TEXT,
        }
    )
    restore = _object(
        {
            "phase": TEXT,
            "reason": TEXT,
            "message": TEXT,
            "claimUID": TEXT,
            "snapshot": TEXT,
            "snapshotTime": TIME,
            "skipped": TEXTS,
            "finished": TIME,
            "startedEmpty": TIME,
        }
    )
    status = _object(
        {
            "state": TEXT,
            "message": TEXT,
            "conditions": _conditions(),
            "claimUID": TEXT,
            "plan": plan,
            "problems": TEXTS,
            "backup": backup,
            "restore": restore,
        }
    )
    columns = (
        ("State", "string", ".status.state"),
        ("Last Backup", "date", ".status.backup.lastTime"),
        ("Schedule", "string", ".status.plan.schedule"),
        ("Repository", "string", ".status.plan.repository"),
        ("Message", "string", ".status.message"),
    )
    return _definition("Protection", "protections", "Namespaced", _object({}), status, columns)


def _restore() -> dict[str, Any]:
    spec = _object({"identity": TEXT, "repository": TEXT, "snapshot": TEXT, "time": TEXT, "reason": TEXT})
    status = _object({"phase": TEXT, "reason": TEXT, "message": TEXT, "claim": TEXT, "snapshot": TEXT})
    columns = (
        ("Phase", "string", ".status.phase"),
        ("Claim", "string", ".status.claim"),
        ("Message", "string", ".status.message"),
    )
    rule = {
        "rule": f"self.metadata.name != '{AUTO}'",
        "message": f"the name {AUTO} is reserved: a claim that names it gets its own newest backup",
    }
    return _definition("Restore", "restores", "Namespaced", spec, status, columns, [rule])
