"""What the store means, beyond what the portable expectations ask of every API server."""

import json
from collections.abc import Callable
from importlib.resources import files

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from holdfast.sandbox.store import requests, selectors
from holdfast.sandbox.store.history import Watch
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.messages import Answer, Request
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import Refusal, forbidden
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json
from tests.sandbox import fields, objects

ALL = selectors.parse("ConfigMap", namespace="", labels="", fields="")
ME = Writer(manager="test")


def configmap(name: str, **more: object) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **more}, "data": {"a": "1"}}


def test_known_fields_are_those_of_kubernetes() -> None:
    stored = json.loads(files("holdfast.sandbox.store").joinpath("fields.json").read_text(encoding="utf-8"))

    assert stored == fields.known_fields()


def test_same_requests_make_the_same_history() -> None:
    def played() -> Json:
        store = objects.store()
        store.create(store.kind_named("ConfigMap"), "default", configmap("", generateName="a-"), ME)
        store.create(store.kind_named("PersistentVolumeClaim"), "default", objects.claim("b"), ME)
        return dict(store.objects)

    assert played() == played()


def test_admission_sees_the_data_source_that_will_vanish_and_its_answer_is_stored() -> None:
    seen: list[Json] = []

    def admit(operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json:
        assert namespace is not None
        assert (operation, old) == ("CREATE", None)
        seen.append(item)
        source = item["spec"].pop("dataSource")
        return {**item, "spec": {**item["spec"], "dataSourceRef": source}}

    store = objects.store(admit)
    source = {"apiGroup": "holdfast.dev", "kind": "Restore", "name": "auto"}

    claim = store.create(
        store.kind_named("PersistentVolumeClaim"), "default", objects.claim("a", dataSource=source), ME
    )

    assert seen[0]["metadata"]["name"] == "a"
    assert claim["spec"]["dataSourceRef"] == claim["spec"]["dataSource"] == source
    assert "f:dataSourceRef" not in json.dumps(claim["metadata"]["managedFields"])


def test_admission_refuses() -> None:
    store = objects.store(lambda *_: forbidden("not here"))

    with pytest.raises(Refusal) as refused:
        store.create(store.kind_named("ConfigMap"), "default", configmap("a"), ME)

    assert refused.value.code == 403


def test_admission_can_keep_what_a_put_would_drop() -> None:
    store = objects.store()
    claims = store.kind_named("PersistentVolumeClaim")
    held = store.create(claims, "default", objects.claim("a", volumeName="reserved"), ME)

    def admit(operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json:
        assert operation == "UPDATE"
        assert old == held
        return {**item, "spec": {**item["spec"], "volumeName": old["spec"]["volumeName"]}}

    store.admit = admit

    replaced = store.replace(claims, "default", "a", objects.claim("a"), ME)

    assert replaced["spec"]["volumeName"] == "reserved"


def test_the_default_class_is_given_to_claims_that_name_none() -> None:
    store = objects.store()
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "usual", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.com/none",
    }
    store.create(store.kind_named("StorageClass"), "", body, ME)
    claims = store.kind_named("PersistentVolumeClaim")

    named = store.create(claims, "default", objects.claim("a"), ME)
    static = store.create(claims, "default", objects.claim("b", storageClassName=""), ME)

    assert (named["spec"]["storageClassName"], static["spec"]["storageClassName"]) == ("usual", "")


def test_a_watch_from_too_long_ago_ends_with_an_expired_error() -> None:
    store = objects.store(history_limit=2)
    kind = store.kind_named("ConfigMap")
    old = store.version
    for number in range(6):
        store.create(kind, "default", configmap(f"c{number}"), ME)

    events = list(store.watch(kind, ALL, old).take())

    assert [(event, item["code"]) for event, item in events] == [("ERROR", 410)]


def test_an_expired_page_offers_a_token_for_an_inconsistent_list() -> None:
    store = objects.store(history_limit=2)
    kind = store.kind_named("ConfigMap")
    for number in range(3):
        store.create(kind, "default", configmap(f"c{number}"), ME)
    first = _answered(store, Request(method="GET", path="/api/v1/configmaps", query={"limit": "1"}))
    for number in range(3, 9):
        store.create(kind, "default", configmap(f"c{number}"), ME)

    query = {"limit": "1", "continue": json.loads(first.body)["metadata"]["continue"]}
    answer = _answered(store, Request(method="GET", path="/api/v1/configmaps", query=query))

    assert answer.status == 410
    assert json.loads(answer.body)["metadata"]["continue"]


def test_every_request_is_remembered_by_verb_and_kind() -> None:
    store = objects.store()
    _answered(store, Request(method="GET", path="/api/v1/namespaces/default/pods"))
    path = "/api/v1/namespaces/default/pods/a/status"
    body = b'{"status": {}}'
    _answered(store, Request(method="PATCH", path=path, body=body, content_type="application/merge-patch+json"))

    assert store.used == {("list", "", "pods", ""), ("patch", "", "pods", "status")}


def _answered(store: Store, request: Request) -> Answer:
    answer = requests.answer(store, request)
    assert isinstance(answer, Answer)
    return answer


def _code(write: Callable[[], object]) -> int | None:
    """Return the code of the refusal, or None when the write was carried out."""
    try:
        write()
    except Refusal as refusal:
        return refusal.code
    return None


class Machine(RuleBasedStateMachine):
    """Creates, changes, deletes and releases; a watch from the beginning must always tell the same story."""

    names: Bundle[str] = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.store = objects.store()
        self.kind = self.store.kind_named("ConfigMap")
        self.watch: Watch = self.store.watch(self.kind, ALL, self.store.version)
        self.seen: dict[str, Json] = {}
        self.expected: dict[str, tuple[str, bool, bool]] = {}  # data, held by a finalizer, being deleted

    @rule(target=names, name=st.sampled_from("abcde"), held=st.booleans())
    def create(self, name: str, held: bool) -> str:
        more = {"finalizers": ["example.com/a"]} if held else {}
        known = name in self.expected
        code = _code(lambda: self.store.create(self.kind, "default", configmap(name, **more), ME))
        assert code == (409 if known else None)
        if not known:
            self.expected[name] = ("1", held, False)
        return name

    @rule(name=names, value=st.sampled_from("123"))
    def patch(self, name: str, value: str) -> None:
        known = self.expected.get(name)
        code = _code(lambda: self.store.patch(self.kind, "default", name, {"data": {"a": value}}, ME))
        assert code == (404 if known is None else None)
        if known is not None:
            self.expected[name] = (value, *known[1:])

    @rule(name=names, value=st.sampled_from("123"))
    def apply(self, name: str, value: str) -> None:
        body = {**configmap(name), "data": {"a": value}}
        writer = Writer(manager="other", operation="Apply")
        _, created = self.store.apply(self.kind, "default", name, body, writer, force=True)
        known = self.expected.get(name, ("", False, False))
        assert created is (name not in self.expected)
        self.expected[name] = (value, *known[1:])

    @rule(name=names)
    def delete(self, name: str) -> None:
        known = self.expected.get(name)
        code = _code(lambda: self.store.delete(self.kind, "default", name, Deletion()))
        assert code == (404 if known is None else None)
        if known is None:
            return
        if known[1]:
            self.expected[name] = (known[0], True, True)
        else:
            del self.expected[name]

    @rule(name=consumes(names))
    def release(self, name: str) -> None:
        known = self.expected.get(name)
        if known is None:
            return
        self.store.patch(self.kind, "default", name, {"metadata": {"finalizers": None}}, ME)
        if known[2]:
            del self.expected[name]
        else:
            self.expected[name] = (known[0], False, False)

    @invariant()
    def the_watch_tells_what_the_list_shows(self) -> None:
        for event, item in self.watch.take():
            name = item["metadata"]["name"]
            assert (event == "ADDED") is (name not in self.seen)
            if event == "DELETED":
                del self.seen[name]
            else:
                self.seen[name] = item
        listed = {item["metadata"]["name"]: item for item in self.store.page(self.kind, ALL).items}
        assert listed == self.seen

    @invariant()
    def the_store_holds_what_was_asked(self) -> None:
        found = {
            name: (item["data"]["a"], "finalizers" in item["metadata"], "deletionTimestamp" in item["metadata"])
            for (_, name), item in self.store.objects[self.kind.key].items()
        }
        assert found == self.expected

    @invariant()
    def an_earlier_state_can_be_rebuilt(self) -> None:
        assert self.store.page(self.kind, ALL, version=2).items == ()


Machine.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None, database=None)
TestMachine = Machine.TestCase
