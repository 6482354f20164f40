"""What a Kubernetes API server means, over dictionaries.

Synchronous and deterministic: the time, uids and name suffixes come from the caller; there is no task and no socket.
A stored object is never changed in place, so whoever got one may keep it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from holdfast.sandbox.store import claims, kinds, lifecycle, names, ownership, rules, schema
from holdfast.sandbox.store.history import Change, History, Key, Place, Watch
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import (
    Cause,
    Refusal,
    already_exists,
    bad_request,
    conflict,
    forbidden,
    invalid,
    not_found,
    wrong,
)  # fmt: skip
from holdfast.sandbox.store.selectors import Selector
from holdfast.sandbox.store.values import Json, at, copied, merged, without_nulls

# (operation, object, old object or None, its namespace object or None) → the object to go on with, or a refusal.
Admit = Callable[[str, Json, Json | None, Json | None], "Json | Refusal"]

DEFAULT_CLASS: Final = "storageclass.kubernetes.io/is-default-class"
_KEPT_ON_CREATE: Final = ("name", "namespace", "generateName", "labels", "annotations", "finalizers", "ownerReferences")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Part of a list. `rest`: the place after which it goes on, or None at the end."""

    version: int
    items: tuple[Json, ...]
    rest: Place | None = None
    remaining: int = 0


@dataclass(kw_only=True)
class Store:
    """All objects, and the writes that change them."""

    now: Callable[[], datetime]
    new_uid: Callable[[], str]
    new_suffix: Callable[[], str]
    admit: Admit | None = None
    history_limit: int = 20_000
    version: int = 1
    objects: dict[Key, dict[Place, Json]] = field(default_factory=dict)
    kinds: dict[Key, Kind] = field(default_factory=dict)
    listeners: set[Callable[[Change], None]] = field(default_factory=set)
    used: set[tuple[str, str, str, str]] = field(default_factory=set)  # verb, group, resource, subresource asked for

    def __post_init__(self) -> None:
        self.history = History(start=self.version, limit=self.history_limit)
        for kind in kinds.built_in():
            self._serve(kind)

    # Reading

    def kind(self, group: str, plural: str) -> Kind | None:
        return self.kinds.get((group, plural))

    def kind_named(self, name: str) -> Kind:
        """Return the kind with that name; names of built-in kinds are unique among themselves."""
        return next(kind for kind in self.kinds.values() if kind.kind == name)

    def find(self, kind: Kind, namespace: str, name: str) -> Json | None:
        return self.objects[kind.key].get((namespace, name))

    def get(self, kind: Kind, namespace: str, name: str) -> Json:
        """Return the object; raise Refusal 404."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind.group, kind.plural, name)
        return found

    def all(self, kind_name: str, namespace: str = "") -> list[Json]:
        """Return the objects of a built-in kind, in order of namespace and name."""
        objects = self.objects[self.kind_named(kind_name).key]
        return [objects[place] for place in sorted(objects) if not namespace or place[0] == namespace]

    def page(
        self, kind: Kind, selector: Selector, *, limit: int = 0, after: Place | None = None, version: int | None = None
    ) -> Page:
        """Return objects as they were at `version` (None: now), from the place after `after`."""
        objects: Mapping[Place, Json] = self.objects[kind.key]
        if version is not None and version != self.version:
            objects = self.history.rewound(kind.key, objects, version)
        places = sorted(place for place, item in objects.items() if selector.admits(item))
        if after is not None:
            places = [place for place in places if place > after]
        shown = places[:limit] if limit else places
        return Page(
            version=self.version if version is None else version,
            items=tuple(objects[place] for place in shown),
            rest=shown[-1] if len(shown) < len(places) else None,
            remaining=len(places) - len(shown),
        )

    def watch(self, kind: Kind, selector: Selector, since: int) -> Watch:
        return Watch(self.history, kind.key, selector, since)

    # Writing, as a client may

    def create(self, kind: Kind, namespace: str, body: Json, writer: Writer, *, dry_run: bool = False) -> Json:
        """Store a new object and return it; raise Refusal."""
        item = self._read(kind, namespace, body)
        managed = ownership.tracked(kind, None, self._writable(kind, item), writer, self._time())
        return self._create(kind, namespace, item, managed, dry_run)

    def replace(
        self, kind: Kind, namespace: str, name: str, body: Json, writer: Writer, *, dry_run: bool = False
    ) -> Json:
        """Put an object in the place of the stored one; raise Refusal."""
        item = self._read(kind, namespace, body)
        if item["metadata"].get("name") != name:
            raise bad_request(f"the name of the object ({item['metadata'].get('name')}) does not match {name}")
        old = self.find(kind, namespace, name)
        if old is None and kind.kind == "Lease" and not writer.subresource:
            return self.create(kind, namespace, body, writer, dry_run=dry_run)
        if old is None:
            raise not_found(kind.group, kind.plural, name)
        if kind.custom and not item["metadata"].get("resourceVersion"):
            raise invalid(kind.kind, name, [wrong("metadata.resourceVersion", "must be specified for an update")])
        if item["metadata"].get("uid") not in (None, "", old["metadata"]["uid"]):
            raise conflict(f"Precondition failed: UID in precondition: {item['metadata']['uid']}").about(
                kind.group, kind.plural, name
            )
        return self._write(kind, old, item, writer, dry_run)

    def patch(
        self, kind: Kind, namespace: str, name: str, patch: Json, writer: Writer, *, dry_run: bool = False
    ) -> Json:
        """Carry out a merge patch and return the object; raise Refusal."""
        old = self.get(kind, namespace, name)
        body = merged(old, patch)
        if not isinstance(body.get("metadata"), dict):
            raise bad_request("metadata must be an object")
        item = self._read(kind, namespace, body)
        if item["metadata"].get("name") != name:
            raise bad_request(f"the name of the object ({item['metadata'].get('name')}) does not match {name}")
        self._check_uid(kind, old, item)
        return self._write(kind, old, item, writer, dry_run)

    def apply(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Json,
        writer: Writer,
        *,
        force: bool = False,
        dry_run: bool = False,
    ) -> tuple[Json, bool]:
        """Carry out a server-side apply; return the object and whether it is new. Raise Refusal."""
        if at(body, "metadata", "managedFields") is not None:
            raise bad_request("metadata.managedFields must be nil")
        item = self._read(kind, namespace, {**body, "metadata": {"name": name, **(body.get("metadata") or {})}})
        if item["metadata"]["name"] != name:
            raise bad_request(f"the name of the object ({item['metadata']['name']}) does not match {name}")
        old = self.find(kind, namespace, name)
        wanted = self._writable(kind, item, writer.subresource)
        if old is None:
            if writer.subresource:
                raise not_found(kind.group, kind.plural, name)
            if item["metadata"].get("uid"):
                raise conflict(f"uid mismatch: the provided object specified uid {item['metadata']['uid']}").about(
                    kind.group, kind.plural, name
                )
            result = ownership.applied(kind, None, wanted, writer, force=force, time=self._time())
            item["metadata"].pop("resourceVersion", None)  # only a uid keeps an apply from creating
            return self._create(kind, namespace, item, result["metadata"]["managedFields"], dry_run), True
        self._check_uid(kind, old, item)
        self._check_version(kind, old, item)
        result = ownership.applied(kind, old, wanted, writer, force=force, time=self._time())
        result["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        return self._update(kind, old, result, result["metadata"]["managedFields"], writer.subresource, dry_run), False

    def delete(self, kind: Kind, namespace: str, name: str, deletion: Deletion) -> tuple[Json, bool]:
        """Delete the object or begin to; return it and whether it is gone. Raise Refusal."""
        old = self.get(kind, namespace, name)
        if deletion.uid not in (None, old["metadata"]["uid"]):
            raise conflict(f"Precondition failed: UID in precondition: {deletion.uid}").about(
                kind.group, kind.plural, name
            )
        if deletion.version not in (None, old["metadata"]["resourceVersion"]):
            raise conflict(f"Precondition failed: ResourceVersion: {deletion.version}").about(
                kind.group, kind.plural, name
            )
        new = lifecycle.dying(kind, old, deletion, self.now())
        if deletion.dry_run:
            return new, False
        if lifecycle.is_done(kind, new):
            return self._remove(kind, old), True
        return self._commit(kind, old, new), False

    # Writing, as the cluster's own parts may

    def amend(self, kind: Kind, namespace: str, name: str, change: Mapping[str, Any]) -> Json | None:
        """Merge `change` into an object, status and immutable fields too; return it, or None where there is none."""
        old = self.find(kind, namespace, name)
        if old is None:
            return None
        new: Json = merged(old, dict(change))
        if lifecycle.is_done(kind, new) and "deletionTimestamp" in new["metadata"]:
            return self._remove(kind, old)
        return self._commit(kind, old, new)

    def load(self, definitions: Iterable[Json]) -> None:
        """Serve the kinds that CustomResourceDefinitions describe, as if they had been created."""
        kind = self.kind_named("CustomResourceDefinition")
        for definition in definitions:
            known = self.find(kind, "", definition["metadata"]["name"])
            if known is None:
                self.create(kind, "", definition, Writer(manager="sandbox"))
            else:
                self._commit(kind, known, {**known, "spec": definition["spec"]})

    def restored(self, version: int, objects: Iterable[tuple[Key, Json]]) -> None:
        """Take over saved objects; what was before is forgotten, so every older watch is expired."""
        self.version = version
        self.history.restart(version)
        for key, item in objects:
            if key == ("apiextensions.k8s.io", "customresourcedefinitions"):
                self._serve(kinds.custom(item))
            self.objects.setdefault(key, {})[lifecycle.place(item)] = item

    def wiped(self) -> None:
        """Forget everything, as when a cluster is lost: a new one begins, and every older watch is expired."""
        for key in list(self.objects):
            self.objects[key].clear()
            if self.kinds[key].custom:
                del self.objects[key], self.kinds[key]
        self.version += 1000
        self.history.restart(self.version)

    # How writes are made

    def _read(self, kind: Kind, namespace: str, body: Json) -> Json:
        """Return the body as an object of the kind, without what the schema does not know; raise Refusal 400."""
        for key, expected in (("kind", kind.kind), ("apiVersion", kind.api_version)):
            if body.get(key) != expected:
                raise bad_request(f"{key} {body.get(key)!r} in the body is not {expected!r}")
        given = body.get("metadata")
        if given is not None and not isinstance(given, dict):
            raise bad_request("metadata must be an object")
        item: Json = schema.pruned(kind.schema, without_nulls({**body, "metadata": given or {}}))
        rules.check_form(kind, item)
        if kind.custom:
            causes = list(schema.faults(kind.schema["properties"]["metadata"], item["metadata"], "metadata"))
            if causes:
                raise bad_request(f"{causes[0].field}: {causes[0].message}")
        if item["metadata"].get("namespace", namespace) != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        if kind.namespaced:
            item["metadata"]["namespace"] = namespace
        return item

    def _writable(self, kind: Kind, item: Json, subresource: str = "") -> Json:
        """Return the part of the object that a write through this resource can reach."""
        if subresource == "status":
            reached = {"metadata", "status"} if not kind.custom else {"status"}
            part = {key: value for key, value in item.items() if key in reached}
            return {"metadata": {}, **part}
        return {key: value for key, value in item.items() if key != "status" or not kind.has_status}

    def _create(self, kind: Kind, namespace: str, item: Json, managed: list[Json], dry_run: bool) -> Json:
        owner = self._namespace_for(kind, namespace, item)
        given = item["metadata"]
        if given.get("resourceVersion"):
            raise Refusal(500, "", "resourceVersion should not be set on objects to be created")
        meta: Json = {key: given[key] for key in _KEPT_ON_CREATE if key in given}
        item = rules.defaulted(kind, {**item, "metadata": meta})
        item = self._admitted("CREATE", self._with_class(kind, item), None, owner)
        meta = item["metadata"]
        if not meta.get("name") and meta.get("generateName"):  # admission never sees a generated name
            meta = {**meta, "name": meta["generateName"] + self.new_suffix()}
        if self._exists(kind, namespace, meta.get("name", "")):
            raise already_exists(kind.group, kind.plural, meta["name"])
        meta = {
            **meta,
            "uid": self.new_uid(),
            "creationTimestamp": self._time(),
            "managedFields": managed,
            **({"generation": 1} if kind.counts_generation else {}),
        }
        meta.setdefault("name", "")
        item = rules.born(kind, {**item, "metadata": meta})
        self._check(kind, item, ())
        if dry_run:
            return item
        stored = self._commit(kind, None, item)
        if kind.kind == "CustomResourceDefinition":
            stored = self._define(kind, stored)
        return stored

    def _write(self, kind: Kind, old: Json, item: Json, writer: Writer, dry_run: bool) -> Json:
        self._check_version(kind, old, item)
        shown = lifecycle.overlaid(kind, old, item, writer.subresource)
        managed = ownership.tracked(kind, old, shown, writer, self._time())
        return self._update(kind, old, item, managed, writer.subresource, dry_run)

    def _update(self, kind: Kind, old: Json, item: Json, managed: list[Json], subresource: str, dry_run: bool) -> Json:
        new = rules.defaulted(kind, lifecycle.overlaid(kind, old, item, subresource))
        if not subresource:
            new = self._admitted("UPDATE", new, old, self._namespace_object(kind, new))
        if kind.kind == "PersistentVolumeClaim" and not kind.custom:
            new = claims.normalized(new)
        new["metadata"] = {**new["metadata"], "managedFields": managed}
        self._check(kind, new, rules.change_faults(kind, old, new))
        if dry_run:
            return new
        if "deletionTimestamp" in old["metadata"] and lifecycle.is_done(kind, new):
            return self._remove(kind, old)
        return self._commit(kind, old, new)

    def _commit(self, kind: Kind, old: Json | None, new: Json) -> Json:
        """The one place where something changes: stamp, store, log, wake. A change of nothing is none."""
        if old is not None:
            if old == new:
                return old
            if kind.counts_generation and lifecycle.content(old) != lifecycle.content(new):
                new = {**new, "metadata": {**new["metadata"], "generation": old["metadata"]["generation"] + 1}}
        self.version += 1
        new = {**new, "metadata": {**new["metadata"], "resourceVersion": str(self.version)}}
        self.objects[kind.key][lifecycle.place(new)] = new
        if kind.kind == "CustomResourceDefinition":
            self._serve(kinds.custom(new))
        self._log(Change(version=self.version, key=kind.key, place=lifecycle.place(new), old=old, new=new))
        return new

    def _remove(self, kind: Kind, old: Json) -> Json:
        self.version += 1
        del self.objects[kind.key][lifecycle.place(old)]
        change = Change(version=self.version, key=kind.key, place=lifecycle.place(old), old=old, new=None)
        self._log(change)
        if kind.kind == "CustomResourceDefinition":
            self._undefine(old)
        return change.gone

    def _log(self, change: Change) -> None:
        self.history.add(change)
        for listener in tuple(self.listeners):
            listener(change)

    def _check(self, kind: Kind, item: Json, more: Iterable[Cause]) -> None:
        causes = [*names.faults(kind, item["metadata"]), *rules.faults(kind, item), *more]
        if causes:
            raise invalid(kind.kind, item["metadata"].get("name", ""), causes)

    def _check_version(self, kind: Kind, old: Json, item: Json) -> None:
        given = item["metadata"].get("resourceVersion")
        if given and given != old["metadata"]["resourceVersion"]:
            message = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(
                f'Operation cannot be fulfilled on {kind.plural} "{lifecycle.place(old)[1]}": {message}'
            ).about(kind.group, kind.plural, lifecycle.place(old)[1])

    def _check_uid(self, kind: Kind, old: Json, item: Json) -> None:
        if item["metadata"].get("uid", old["metadata"]["uid"]) != old["metadata"]["uid"]:
            raise invalid(kind.kind, lifecycle.place(old)[1], [wrong("metadata.uid", "field is immutable")])

    def _exists(self, kind: Kind, namespace: str, name: str) -> bool:
        return bool(name) and self.find(kind, namespace, name) is not None

    def _namespace_object(self, kind: Kind, item: Json) -> Json | None:
        namespaces = self.objects[("", "namespaces")]
        return namespaces.get(("", item["metadata"]["namespace"])) if kind.namespaced else None

    def _namespace_for(self, kind: Kind, namespace: str, item: Json) -> Json | None:
        """Return the namespace that a new object goes into; refuse one that is missing or on its way out."""
        if not kind.namespaced:
            return None
        found = self.objects[("", "namespaces")].get(("", namespace))
        if found is None:
            raise not_found("", "namespaces", namespace)
        if "deletionTimestamp" in found["metadata"]:
            message = f"unable to create new content in namespace {namespace} because it is being terminated"
            cause = Cause(
                reason="NamespaceTerminating",
                message=f"namespace {namespace} is being terminated",
                field="metadata.namespace",
            )
            raise forbidden(message, [cause]).about(kind.group, kind.plural, item["metadata"].get("name", ""))
        return found

    def _with_class(self, kind: Kind, item: Json) -> Json:
        if kind.kind != "PersistentVolumeClaim" or kind.custom or "storageClassName" in item["spec"]:
            return item
        for candidate in self.all("StorageClass"):
            if at(candidate, "metadata", "annotations", DEFAULT_CLASS) == "true":
                return {**item, "spec": {**item["spec"], "storageClassName": candidate["metadata"]["name"]}}
        return item

    def _admitted(self, operation: str, item: Json, old: Json | None, namespace: Json | None) -> Json:
        if self.admit is None:
            return item
        answer = self.admit(operation, copied(item), old, namespace)
        if isinstance(answer, Refusal):
            raise answer
        return answer

    def _serve(self, kind: Kind) -> None:
        self.kinds[kind.key] = kind
        self.objects.setdefault(kind.key, {})

    def _define(self, kind: Kind, definition: Json) -> Json:
        conditions = [
            {"type": name, "status": "True", "reason": reason, "message": "", "lastTransitionTime": self._time()}
            for name, reason in (("NamesAccepted", "NoConflicts"), ("Established", "InitialNamesAccepted"))
        ]
        status = {"conditions": conditions, "acceptedNames": definition["spec"]["names"], "storedVersions": []}
        return self._commit(kind, definition, {**definition, "status": status})

    def _undefine(self, definition: Json) -> None:
        kind = kinds.custom(definition)
        for item in tuple(self.objects[kind.key].values()):
            self._remove(kind, item)
        del self.kinds[kind.key], self.objects[kind.key]

    def _time(self) -> str:
        return lifecycle.stamp(self.now())
