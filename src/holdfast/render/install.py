"""What runs the operator on a cluster: its namespace, its rights and its Deployment."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from holdfast.model.intent import GUESTS
from holdfast.model.settings import Settings
from holdfast.render import names

OPERATOR: Final = "holdfast-operator"
USER: Final = 65_532  # nobody's on any distribution
_RBAC: Final = "rbac.authorization.k8s.io"
_WATCH: Final = ("get", "list", "watch")

# (API group, resources, verbs): exactly what the controllers ask for, over all namespaces and in our own.
# Nothing here reads a Secret, starts a pod or changes a claim outside of our namespace (P2, P9).
EVERYWHERE: Final = (
    ("", ("persistentvolumeclaims", "namespaces"), _WATCH),
    ("", ("pods",), ("list",)),
    ("", ("persistentvolumes",), (*_WATCH, "create", "patch", "delete")),
    ("", ("events",), ("get", "create", "patch")),
    ("storage.k8s.io", ("storageclasses",), _WATCH),
    ("snapshot.storage.k8s.io", ("volumesnapshotclasses",), ("list",)),
    ("snapshot.storage.k8s.io", ("volumesnapshots",), ("get", "list", "create", "delete")),
    ("snapshot.storage.k8s.io", ("volumesnapshotcontents",), ("get", "list", "create", "patch", "delete")),
    ("holdfast.dev", ("repositories", "restores"), _WATCH),
    ("holdfast.dev", ("protections",), (*_WATCH, "create")),
    ("holdfast.dev", ("repositories/status", "restores/status", "protections/status"), ("patch",)),
)
# Only where classes are held by name: the pod that uses such a claim says on which node its volume can be.
WHERE_BY_NAME: Final = (("", ("pods",), ("watch",)),)
# What people of a namespace get with the cluster's own roles. Whose history a Restore may name is not theirs to say.
PEOPLE: Final = {
    "view": (("view", "edit", "admin"), ("protections", "restores"), _WATCH),
    "edit": (("edit", "admin"), ("restores",), ("create", "patch", "update", "delete")),
}
AT_HOME: Final = (
    ("", ("persistentvolumeclaims",), ("create", "patch", "delete")),
    ("", ("secrets",), (*_WATCH, "create", "delete")),
    ("", ("pods",), _WATCH),
    ("", ("events",), ("list", "watch")),
    ("batch", ("jobs",), (*_WATCH, "create", "delete")),
    ("apps", ("deployments",), ("get", "create", "patch", "delete")),
    ("coordination.k8s.io", ("leases",), ("get", "create", "patch")),
)
# In a namespace whose administrator lets movers work there. Nothing here reads a Secret: the run's own is only made.
AS_GUEST: Final = (
    ("batch", ("jobs",), ("get", "list", "create", "delete")),
    ("", ("secrets",), ("create",)),
)


def manifests(settings: Settings) -> tuple[dict[str, Any], ...]:
    """Return all that runs the operator, in the order in which it can be created."""
    return (namespace(settings), *rights(settings), *peoples_rights(), deployment(settings))


def namespace(settings: Settings) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": settings.namespace}}


def rights(settings: Settings) -> tuple[dict[str, Any], ...]:
    """Return the operator's account and what it may do; movers and readers have no account at all."""
    home = settings.namespace
    everywhere = EVERYWHERE + (WHERE_BY_NAME if settings.by_name else ())
    account = [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": home}]
    return (
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": names.metadata(OPERATOR, home, "operator")},
        _rbac("ClusterRole", None, {"rules": _rules(everywhere)}),
        _rbac("ClusterRoleBinding", None, {"roleRef": _role("ClusterRole"), "subjects": account}),
        _rbac("Role", home, {"rules": _rules(AT_HOME)}),
        _rbac("RoleBinding", home, {"roleRef": _role("Role"), "subjects": account}),
    )


def peoples_rights() -> tuple[dict[str, Any], ...]:
    """Return the roles that the cluster adds to its own `view`, `edit` and `admin`."""
    return tuple(
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": names.metadata(
                f"holdfast-{name}", None, "people", labels={f"{_RBAC}/aggregate-to-{role}": "true" for role in roles}
            ),
            "rules": _rules((("holdfast.dev", resources, verbs),)),
        }
        for name, (roles, resources, verbs) in PEOPLE.items()
    )


def guest(settings: Settings, namespace: str) -> tuple[dict[str, Any], ...]:
    """Return what lets movers work in an app's namespace: its label, and what the operator may do there."""
    account = [{"kind": "ServiceAccount", "name": OPERATOR, "namespace": settings.namespace}]
    return (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": {GUESTS: "true"}}},
        _rbac("Role", namespace, {"rules": _rules(AS_GUEST)}),
        _rbac("RoleBinding", namespace, {"roleRef": _role("Role"), "subjects": account}),
    )


def _rbac(kind: str, home: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": names.metadata(OPERATOR, home, "operator"),
        **body,
    }


def _role(kind: str) -> dict[str, str]:
    return {"apiGroup": _RBAC, "kind": kind, "name": OPERATOR}


def _rules(table: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...]) -> list[dict[str, list[str]]]:
    return [
        {"apiGroups": [group], "resources": list(resources), "verbs": list(verbs)} for group, resources, verbs in table
    ]


def deployment(settings: Settings) -> dict[str, Any]:
    """Return the operator's Deployment: one replica, not root, no right to write outside of /tmp."""
    labels = {names.COMPONENT: "operator"}
    container = {
        "name": "operator",
        "image": settings.image,
        "args": ["run"],
        "env": [{"name": name, "value": value} for name, value in environment(settings).items()],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108  # inside the pod
    }
    pod = {
        "serviceAccountName": OPERATOR,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": names.metadata(OPERATOR, settings.namespace, "operator"),
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def environment(settings: Settings) -> Mapping[str, str]:
    """Return the settings that differ from their defaults, as the operator's environment gives them."""
    plain = Settings()
    return {
        f"HOLDFAST_{name.upper()}": _written(getattr(settings, name))
        for name in settings.__slots__
        if getattr(settings, name) != getattr(plain, name)
    }


def _written(value: object) -> str:
    match value:
        case timedelta():
            return f"{value.total_seconds():g}s"
        case tuple():
            return ",".join(value)
        case _:
            return str(value)
