"""The admission rule as policies inside the API server: nothing of ours has to be up.

An expression must never fail: whatever a claim lacks is read with `.?` and `orValue`, since an error in a policy of
`Fail` refuses the claim. Conditions see neither variables nor the namespace's object; mutations see both.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from holdfast.model.admission import LONGEST_RESERVED, MADE_BY_TOOLS, RESERVED, Rule, Unarmed
from holdfast.model.intent import EXEMPT_LABEL, OFF, PREFIX
from holdfast.model.request import AUTO, GROUP, KIND
from holdfast.render import crds, names

API: Final = "admissionregistration.k8s.io/v1"
COMPONENT: Final = "arming"
DESCRIPTION: Final = "kubernetes.io/description"
NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"

Json = dict[str, Any]


def _list(values: Any) -> str:
    return "[" + ", ".join(f"'{value}'" for value in sorted(values)) + "]"


def _label(owner: str, key: str) -> str:
    return f"{owner}.metadata.?labels['{key}'].orValue('')"


def _is_ours(reference: str) -> str:
    return f"{reference}.?apiGroup.orValue('') == '{GROUP}' && {reference}.?kind.orValue('') == '{KIND}'"


def _reference(name: str, field: str = "dataSourceRef") -> str:
    value = f"Object.spec.{field}{{apiGroup: '{GROUP}', kind: '{KIND}', name: {name}}}"
    return f"JSONPatch{{op: 'add', path: '/spec/{field}', value: {value}}}"


# request.namespace, for a claim being created has it only there where the client left it out.
RESERVED_NAME: Final = f"'{RESERVED}' + request.namespace + '.' + object.metadata.?name.orValue('')"
RESERVE: Final = f"JSONPatch{{op: 'add', path: '/spec/volumeName', value: {RESERVED_NAME}}}"
HAS_NAME: Final = "object.metadata.?name.orValue('') != ''"
OPERATED: Final = (
    "(o.?kind.orValue('') == 'Pod' && o.?apiVersion.orValue('') == 'v1') || (o.?controller.orValue(false){insists} && "
    "!(o.?kind.orValue('') == 'StatefulSet' && o.?apiVersion.orValue('').startsWith('apps/')))"
)
QUOTED_AUTO: Final = f"'{AUTO}'"
INSISTS: Final = f" && object.metadata.?annotations['{PREFIX}restore'].orValue('') != 'auto'"


def policies(rule: Rule) -> tuple[Json, ...]:
    """Return the policies and their bindings, in the order in which they are applied."""
    made = [_claim(rule), _namespace(rule), _source(rule), _keep(rule)]
    if rule.by_name:
        made.append(_length(rule))
    return tuple(each for policy in made for each in (policy, _binding(policy)))


def manifests(rule: Rule) -> tuple[Json, ...]:
    """Return all that arms a cluster: our kinds, then the policies. It goes first; the operator may come last."""
    return (*crds.definitions(), *policies(rule))


def conditions(rule: Rule, *, labelled: bool) -> Iterator[tuple[Unarmed, str]]:
    """Yield, for each reason to leave a claim alone, the condition that it does not hold.

    Reasons that selectors and mutations see to have none.
    """
    if labelled:
        yield Unarmed.NOT_PROTECTED, f"!({_label('object', rule.label)}.lowerAscii() in {_list(OFF)})"
    yield Unarmed.MADE_BY_TOOL, " && ".join(_not_made_by(key, values) for key, values in MADE_BY_TOOLS.items())
    operated = OPERATED.format(insists=INSISTS if labelled else "")
    yield Unarmed.OPERATED, f"!object.metadata.?ownerReferences.orValue([]).exists(o, {operated})"
    yield Unarmed.HAS_SOURCE, "!has(object.spec.dataSource) && !has(object.spec.dataSourceRef)"
    yield Unarmed.STATIC, _not_static(named="object.spec.?volumeName.orValue('') == ''")
    yield Unarmed.BLOCK, "object.spec.?volumeMode.orValue('Filesystem') == 'Filesystem'"


def _not_made_by(key: str, values: frozenset[str] | None) -> str:
    if values is None:
        return f"!('{key}' in object.metadata.?labels.orValue({{}}))"
    return f"!({_label('object', key)} in {_list(values)})"


def _not_static(named: str) -> str:
    return f"!has(object.spec.selector) && object.spec.?storageClassName.orValue('-') != '' && {named}"


def _claim(rule: Rule) -> Json:
    return _policy(
        "claim",
        f"Holds each claim that carries label {rule.label} until Holdfast has brought its data back.",
        rule,
        operation="CREATE",
        objects=[{"key": rule.label, "operator": "Exists"}],
        when=list(conditions(rule, labelled=True)),
        patch=_hold(rule),
    )


def _namespace(rule: Rule) -> Json:
    # Only a mutation sees the namespace's object, so `off` in any spelling is told there.
    off = f"namespaceObject.metadata.?labels['{rule.label}'].orValue('').lowerAscii() in {_list(OFF)}"
    return _policy(
        "namespace",
        f"Holds each claim in a namespace that carries label {rule.label}, if it says nothing itself.",
        rule,
        operation="CREATE",
        objects=[{"key": key, "operator": "DoesNotExist"} for key in (rule.label, EXEMPT_LABEL)],
        namespaces=[{"key": rule.label, "operator": "Exists"}],
        when=list(conditions(rule, labelled=False)),
        patch=f"{off} ? [] : ({_hold(rule)})",
    )


def _hold(rule: Rule) -> str:
    by_reference = f"[{_reference(QUOTED_AUTO)}]"
    if not rule.by_name:
        return by_reference
    return f"{_is_by_name(rule)} ? ({HAS_NAME} ? [{RESERVE}] : []) : {by_reference}"


def _is_by_name(rule: Rule) -> str:
    return f"object.spec.?storageClassName.orValue('') in {_list(rule.by_name)}"


def _source(rule: Rule) -> Json:
    """The API server drops some sources without a word, before any validation could see them.

    These are a `dataSource` of our kind, and a `dataSourceRef` into another namespace.
    """
    trapped = f"!has(object.spec.dataSourceRef) && {_is_ours('object.spec.?dataSource')}"
    turn = f"[JSONPatch{{op: 'remove', path: '/spec/dataSource'}}, {_reference('object.spec.dataSource.name')}]"
    reference = "object.spec.?dataSourceRef"
    abroad = f"{_is_ours(reference)} && {reference}.?namespace.orValue('') != ''"
    bring = f"[{_reference('object.spec.dataSourceRef.name')}]"
    when, patch = f"({trapped}) || ({abroad})", f"({trapped} ? {turn} : ({abroad} ? {bring} : []))"
    if rule.by_name:
        plain = "!has(object.spec.selector) && object.spec.?volumeName.orValue('') == ''"
        named = f"(({trapped}) || ({_is_ours(reference)}))"
        ignored = f"{named} && {_is_by_name(rule)} && {HAS_NAME} && {plain}"
        ignored += " && object.spec.?volumeMode.orValue('Filesystem') == 'Filesystem'"
        when, patch = f"{when} || ({ignored})", f"{patch} + (({ignored}) ? [{RESERVE}] : [])"
    return _policy(
        "source",
        "Turns a dataSource that names a Restore, or a dataSourceRef to one of another namespace, into a dataSourceRef "
        "to one of its own: the API server would drop it, and the claim start empty.",
        rule,
        operation="CREATE",
        when=[("NamesARestore", when)],
        patch=patch,
        failure="Ignore",
    )


def _keep(rule: Rule) -> Json:
    old, new = "oldObject.spec.?dataSourceRef", "object.spec.?dataSourceRef"
    lost_reference = f"{_is_ours(old)} && {new} != {old}"
    kept = f"'{RESERVED}' + request.namespace + '.' + oldObject.metadata.name"
    lost_name = f"oldObject.spec.?volumeName.orValue('') == {kept} && object.spec.?volumeName.orValue('') != {kept}"
    name = "oldObject.spec.dataSourceRef.name"
    references = f"[{_reference(name)}, {_reference(name, 'dataSource')}]"
    volume = f"[JSONPatch{{op: 'add', path: '/spec/volumeName', value: {kept}}}]"
    return _policy(
        "keep",
        "Gives an update that leaves out or changes Holdfast's hold the old value, so that re-applied manifests pass.",
        rule,
        operation="UPDATE",
        when=[("HoldIsLost", f"({lost_reference}) || ({lost_name})")],
        patch=f"(({lost_reference}) ? {references} : []) + (({lost_name}) ? {volume} : [])",
        failure="Ignore",
    )


def _length(rule: Rule) -> Json:
    name = "object.spec.volumeName"
    message = (
        f"'the reserved volume name ' + {name} + ' has ' + string(size({name})) + ' characters, more than "
        f"{LONGEST_RESERVED}: give the claim a shorter name or another class, or label it {rule.label}: disabled'"
    )
    return {
        "apiVersion": API,
        "kind": "ValidatingAdmissionPolicy",
        "metadata": _metadata("length", "Refuses a claim whose name is too long to be held by name, and says so."),
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": _constraints(rule, "CREATE", [], []),
            "matchConditions": [
                {"name": "HeldByName", "expression": f"object.spec.?volumeName.orValue('').startsWith('{RESERVED}')"}
            ],
            "validations": [
                {"expression": f"size({name}) <= {LONGEST_RESERVED}", "messageExpression": message, "reason": "Invalid"}
            ],
        },
    }


def _policy(
    name: str,
    description: str,
    rule: Rule,
    *,
    operation: str,
    when: list[tuple[Any, str]],
    patch: str,
    objects: list[Json] | None = None,
    namespaces: list[Json] | None = None,
    failure: str = "Fail",
) -> Json:
    return {
        "apiVersion": API,
        "kind": "MutatingAdmissionPolicy",
        "metadata": _metadata(name, description),
        "spec": {
            "failurePolicy": failure,
            "reinvocationPolicy": "IfNeeded",
            "matchConstraints": _constraints(rule, operation, objects or [], namespaces or []),
            "matchConditions": [
                {"name": f"Unless{why}" if isinstance(why, Unarmed) else why, "expression": text} for why, text in when
            ],
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": patch}}],
        },
    }


def _constraints(rule: Rule, operation: str, objects: list[Json], namespaces: list[Json]) -> Json:
    ours: Json = {"key": NAMESPACE_NAME, "operator": "NotIn", "values": [rule.own_namespace]}
    claims = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": [operation],
        "resources": ["persistentvolumeclaims"],
    }
    made: Json = {"namespaceSelector": {"matchExpressions": [*namespaces, ours]}, "resourceRules": [claims]}
    return made | ({"objectSelector": {"matchExpressions": objects}} if objects else {})


def _metadata(name: str, description: str) -> Json:
    return names.metadata(f"holdfast-{name}", None, COMPONENT, annotations={DESCRIPTION: description})


def _binding(policy: Mapping[str, Any]) -> Json:
    name = policy["metadata"]["name"]
    spec: Json = {"policyName": name}
    if policy["kind"] == "ValidatingAdmissionPolicy":
        spec["validationActions"] = ["Deny"]
    return {
        "apiVersion": API,
        "kind": f"{policy['kind']}Binding",
        "metadata": names.metadata(name, None, COMPONENT),
        "spec": spec,
    }
