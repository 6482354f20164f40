"""`holdfast render install`: the operator's rights are few and named, its pod is not root."""

from typing import Any

import yaml

from tests.cli.test_main import run

SECRETS = ("", "secrets")
INSTALL = ("render", "install", "--image", "registry.example/holdfast:1", "--start-deadline", "1m")


def rendered(*more: str) -> dict[str, Any]:
    text = run(*INSTALL, "--holdfast-namespace", "storage", *more).stdout
    return {each["kind"]: each for each in yaml.safe_load_all(text) if not aggregated(each)}


def aggregated(item: dict[str, Any]) -> set[str]:
    """Return the cluster's own roles that the object adds to."""
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    return {key.removeprefix(prefix) for key in item["metadata"].get("labels", {}) if key.startswith(prefix)}


def rights(role: dict[str, Any]) -> dict[tuple[str, str], set[str]]:
    found: dict[tuple[str, str], set[str]] = {}
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found.setdefault((group, resource), set()).update(rule["verbs"])
    return found


def test_what_comes_first_is_what_the_rest_needs() -> None:
    kinds = [each["kind"] for each in yaml.safe_load_all(run(*INSTALL).stdout)]
    assert kinds[:2] == ["Namespace", "ServiceAccount"]
    assert kinds[-1] == "Deployment"


def test_no_right_over_all_namespaces_reads_a_secret_starts_a_pod_or_changes_a_claim() -> None:
    everywhere = rights(rendered()["ClusterRole"])
    assert SECRETS not in everywhere
    assert not {"jobs", "deployments"} & {resource for _, resource in everywhere}
    assert everywhere["", "pods"] == {"list"}
    assert everywhere["", "persistentvolumeclaims"] == {"get", "list", "watch"}
    assert everywhere["", "namespaces"] == {"get", "list", "watch"}
    assert everywhere["snapshot.storage.k8s.io", "volumesnapshots"] == {"get", "list", "create", "delete"}
    assert everywhere["snapshot.storage.k8s.io", "volumesnapshotclasses"] == {"list"}
    assert "*" not in {verb for verbs in everywhere.values() for verb in verbs}


def test_pods_are_watched_everywhere_only_where_claims_are_held_by_name() -> None:
    everywhere = rights(rendered("--by-name", "local-path")["ClusterRole"])
    assert everywhere == rights(rendered()["ClusterRole"]) | {("", "pods"): {"list", "watch"}}


def test_rights_on_secrets_and_pods_end_at_the_own_namespace() -> None:
    items = rendered()
    assert items["Role"]["metadata"]["namespace"] == items["RoleBinding"]["metadata"]["namespace"] == "storage"
    assert SECRETS in rights(items["Role"])
    assert items["RoleBinding"]["subjects"] == items["ClusterRoleBinding"]["subjects"]


def test_who_works_in_a_namespace_reads_why_its_claims_wait_and_may_ask_for_restores() -> None:
    added: dict[str, dict[tuple[str, str], set[str]]] = {}
    for each in yaml.safe_load_all(run(*INSTALL).stdout):
        for role in aggregated(each):
            for what, verbs in rights(each).items():
                added.setdefault(role, {}).setdefault(what, set()).update(verbs)
    read, write = {"get", "list", "watch"}, {"create", "patch", "update", "delete"}
    protections, restores = ("holdfast.dev", "protections"), ("holdfast.dev", "restores")
    assert added.pop("view") == {protections: read, restores: read}
    assert added == {role: {protections: read, restores: read | write} for role in ("edit", "admin")}


def test_the_operator_is_not_root_and_gets_the_settings_that_differ() -> None:
    pod = rendered()["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert {each["name"]: each["value"] for each in container["env"]} == {
        "HOLDFAST_NAMESPACE": "storage",
        "HOLDFAST_IMAGE": "registry.example/holdfast:1",
        "HOLDFAST_START_DEADLINE": "60s",
    }
