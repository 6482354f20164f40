"""`holdfast render arm`, `component` and `snippet`: stable, in the order in which they are applied, ours by label."""

import yaml

from holdfast.cli.problems import ExitCode
from tests.cli.test_main import run

ARM = ("render", "arm", "--by-name", "local-path", "--label", "keep", "--holdfast-namespace", "storage")


def test_kinds_come_first_and_each_policy_before_its_binding() -> None:
    items = list(yaml.safe_load_all(run(*ARM).stdout))
    kinds = [each["kind"] for each in items]
    assert kinds[:3] == ["CustomResourceDefinition"] * 3
    pairs = items[3:]
    for policy, binding in zip(pairs[::2], pairs[1::2], strict=True):
        assert binding["kind"] == f"{policy['kind']}Binding"
        assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert {each["metadata"]["labels"]["app.kubernetes.io/managed-by"] for each in items} == {"holdfast"}


def test_the_output_is_stable_and_follows_the_options() -> None:
    first = run(*ARM).stdout
    assert first == run(*ARM).stdout
    policies = first[first.index("MutatingAdmissionPolicy") :]
    assert "'backup'" not in policies
    assert "local-path" in policies
    assert policies.count("- storage\n") == 5  # Holdfast's own namespace is left out everywhere


def test_no_policy_speaks_of_names_where_no_class_is_held_by_name() -> None:
    plain = run("render", "arm").stdout
    assert "ValidatingAdmissionPolicy" not in plain
    assert "local-path" not in plain


def test_names_that_would_break_an_expression_are_refused() -> None:
    assert run("render", "arm", "--by-name", "a'b").exit_code == ExitCode.USAGE
    assert run("render", "arm", "--label", "a'b").exit_code == ExitCode.USAGE


def test_the_component_selects_by_the_label_and_not_what_is_off() -> None:
    (component,) = yaml.safe_load_all(run("render", "component", "--label", "keep").stdout)
    (patch,) = component["patches"]
    assert patch["target"]["labelSelector"].startswith("keep,keep notin (")
    assert "disabled" in patch["target"]["labelSelector"]
    assert yaml.safe_load(patch["patch"])[0]["value"]["name"] == "auto"


def test_a_snippet_is_what_is_written_into_one_claim() -> None:
    assert yaml.safe_load(run("render", "snippet").stdout)["spec"]["dataSourceRef"]["kind"] == "Restore"
    assert yaml.safe_load(run("render", "snippet", "apps/data").stdout) == {
        "spec": {"volumeName": "holdfast.apps.data"}
    }
    assert run("render", "snippet", "data").exit_code == ExitCode.USAGE
