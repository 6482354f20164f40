"""Requests to an API server, without a socket: a path and a body in, an answer or a watch out."""

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from holdfast.sandbox.store import discovery, schema, selectors
from holdfast.sandbox.store.history import Place
from holdfast.sandbox.store.kinds import Kind
from holdfast.sandbox.store.lifecycle import Deletion
from holdfast.sandbox.store.messages import Answer, Logs, Request, Target, Watching
from holdfast.sandbox.store.ownership import Writer
from holdfast.sandbox.store.refusal import Cause, Refusal, bad_request, invalid, required
from holdfast.sandbox.store.store import Store
from holdfast.sandbox.store.values import Json

_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = ("application/apply-patch+yaml", "application/apply-patch+json")


def answer(store: Store, request: Request) -> Answer | Watching | Logs:
    """Carry out the request and return what the client is to get."""
    plain = discovery.answer(store, request.path)
    if plain is not None:
        return _json(200, plain)
    target = _target(store, request.path)
    if target is None:
        return Answer(status=404, body=b"404 page not found\n", content_type="text/plain; charset=utf-8")
    try:
        return _carried_out(store, request, target)
    except Refusal as refusal:
        named = refusal if refusal.details else refusal.about(target.kind.group, target.kind.plural, target.name)
        return refused(named)


def refused(refusal: Refusal) -> Answer:
    """Return the answer that says so."""
    retry = refusal.details.get("retryAfterSeconds")
    return Answer(
        status=refusal.code,
        body=msgspec.json.encode(refusal.status()),
        retry_after_seconds=retry if isinstance(retry, int) else None,
    )


def verb(request: Request, target: Target) -> str:
    """Return the verb that a role would have to allow."""
    match request.method:
        case "GET" if target.name:
            return "get"
        case "GET":
            return "watch" if _flag(request.query, "watch") else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete" if target.name else "deletecollection"
        case _:
            raise Refusal(405, "MethodNotAllowed", f"the server does not allow {request.method} here")


def _target(store: Store, path: str) -> Target | None:
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", "v1", *rest]:
            group, version = "", "v1"
        case ["apis", group, version, *rest]:
            pass
        case _:
            return None
    namespace = ""
    if len(rest) >= 3 and rest[0] == "namespaces" and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
    if not 1 <= len(rest) <= 3:
        return None
    kind = store.kind(group, rest[0])
    if kind is None or kind.version != version or (namespace and not kind.namespaced):
        return None
    name, subresource = (rest[1] if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
    if name and kind.namespaced and not namespace:
        return None
    if not (subresource == "" or (subresource == "status" and kind.has_status) or _is_log(kind, subresource)):
        return None
    return Target(kind=kind, namespace=namespace, name=name, subresource=subresource)


def _is_log(kind: Kind, subresource: str) -> bool:
    return subresource == "log" and kind.key == ("", "pods")


def _carried_out(store: Store, request: Request, target: Target) -> Answer | Watching | Logs:
    name = verb(request, target)
    store.used.add((name, target.kind.group, target.kind.plural, target.subresource))
    if target.subresource == "log":
        return _logs(store, request, target)
    match name:
        case "get":
            return _json(200, _shown(target.kind, store.get(target.kind, target.namespace, target.name)))
        case "list":
            return _list(store, request, target)
        case "watch":
            return _watch(store, request, target)
        case "delete" | "deletecollection":
            return _delete(store, request, target)
        case _:
            return _written(store, request, target, name)


def _list(store: Store, request: Request, target: Target) -> Answer:
    query = request.query
    selector = _selector(request, target)
    limit, version = _number(query.get("limit", "0"), "limit"), query.get("resourceVersion", "")
    if version and not version.isdecimal():
        raise bad_request(f"Invalid value: {version!r}: resourceVersion")
    if version and int(version) > store.version:
        raise too_large_version(int(version), store.version)
    after: Place | None = None
    snapshot: int | None = None
    if query.get("continue"):
        snapshot, after = _continued(query["continue"])
    elif version == "0":
        limit = 0  # a list from the cache comes all at once
    try:
        page = store.page(target.kind, selector, limit=limit, after=after, version=snapshot)
    except Refusal as refusal:
        assert after is not None
        status = refusal.status()
        status["metadata"] = {"continue": _token(store.version, after)}  # for an inconsistent list
        return _json(410, status)
    meta: Json = {"resourceVersion": str(page.version)}
    if page.rest is not None:
        meta |= {"continue": _token(page.version, page.rest), "remainingItemCount": page.remaining}
    items = [_shown(target.kind, item) if target.kind.custom else _bare(item) for item in page.items]
    kind = target.kind
    return _json(200, {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": items})


def _watch(store: Store, request: Request, target: Target) -> Watching:
    query = request.query
    selector = _selector(request, target)
    version = query.get("resourceVersion", "")
    if query.get("sendInitialEvents") and query.get("resourceVersionMatch") != "NotOlderThan":
        cause = Cause(reason="FieldValueForbidden", field="resourceVersionMatch", message="must be NotOlderThan")
        raise invalid("ListOptions", "", [cause])
    if version and not version.isdecimal():
        raise Refusal(500, "InternalError", f"strconv.ParseUint: parsing {version!r}: invalid syntax")
    first: list[tuple[str, Json]] = []
    since = int(version or 0)
    if since == 0:
        page = store.page(target.kind, selector)
        first, since = [("ADDED", _shown(target.kind, item)) for item in page.items], page.version
    elif since > store.version:
        first = [("ERROR", too_large_version(since, store.version).status())]
    return Watching(
        watch=store.watch(target.kind, selector, since),
        kind=target.kind,
        first=tuple(first),
        bookmarks=_flag(query, "allowWatchBookmarks"),
        timeout_seconds=_number(query.get("timeoutSeconds") or "1800", "timeoutSeconds"),
    )


def _delete(store: Store, request: Request, target: Target) -> Answer:
    options = _body(request) if request.body else {}
    preconditions = options.get("preconditions") or {}
    grace = options.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
    deletion = Deletion(
        propagation=options.get("propagationPolicy") or request.query.get("propagationPolicy", ""),
        grace_seconds=None if grace is None else int(grace),
        uid=preconditions.get("uid"),
        version=preconditions.get("resourceVersion"),
        dry_run="All" in (options.get("dryRun") or request.query.get("dryRun") or ()),
    )
    if not target.name:
        doomed = store.page(target.kind, _selector(request, target)).items
        for item in doomed:
            meta = item["metadata"]
            store.delete(target.kind, meta.get("namespace", ""), meta["name"], deletion)
        return _json(200, {"kind": f"{target.kind.kind}List", "apiVersion": target.kind.api_version, "metadata": {}})
    item, gone = store.delete(target.kind, target.namespace, target.name, deletion)
    shows_object = not target.kind.custom and target.kind.kind in (
        "Pod", "PersistentVolumeClaim", "PersistentVolume", "ServiceAccount", "Namespace",
    )  # fmt: skip
    if shows_object or not gone:
        return _json(200, _shown(target.kind, item))
    details = {"name": target.name, "kind": target.kind.plural, "uid": item["metadata"]["uid"]}
    if target.kind.group:
        details["group"] = target.kind.group
    return _json(200, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})


def _written(store: Store, request: Request, target: Target, name: str) -> Answer:
    body = _body(request)
    warnings = _unknown_fields(request, target.kind, body)
    kind, namespace = target.kind, target.namespace
    dry_run = request.query.get("dryRun") == "All"
    writer = Writer(manager=_manager(request), subresource=target.subresource)
    status = 200
    if name == "create":
        if target.name:
            raise Refusal(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        item = store.create(kind, namespace or _no_namespace(kind), body, writer, dry_run=dry_run)
        status = 201
    elif name == "update":
        known = store.find(kind, namespace, target.name) is not None
        item = store.replace(kind, namespace, target.name, body, writer, dry_run=dry_run)
        status = 200 if known else 201
    elif request.content_type in _APPLY:
        if not request.query.get("fieldManager"):
            raise invalid("PatchOptions", "", [required("fieldManager")])
        writer = Writer(manager=request.query["fieldManager"], operation="Apply", subresource=target.subresource)
        force = _flag(request.query, "force")
        item, created = store.apply(kind, namespace, target.name, body, writer, force=force, dry_run=dry_run)
        status = 201 if created else 200
    elif request.content_type == _MERGE:
        item = store.patch(kind, namespace, target.name, body, writer, dry_run=dry_run)
    else:
        message = f"only {_MERGE} and {_APPLY[0]} are understood here, not {request.content_type}"
        raise Refusal(415, "UnsupportedMediaType", message)
    return _json(status, _shown(kind, item), warnings)


def _logs(store: Store, request: Request, target: Target) -> Logs:
    pod = store.get(target.kind, target.namespace, target.name)
    tail = request.query.get("tailLines")
    return Logs(
        namespace=target.namespace,
        name=target.name,
        uid=pod["metadata"]["uid"],
        follow=_flag(request.query, "follow"),
        tail_lines=None if tail is None else _number(tail, "tailLines"),
    )


def _unknown_fields(request: Request, kind: Kind, body: Json) -> tuple[str, ...]:
    mode = request.query.get("fieldValidation") or "Warn"
    if mode == "Ignore":
        return ()
    unknown = [f'unknown field "{path}"' for path in schema.unknown_fields(kind.schema, body)]
    if unknown and mode == "Strict":
        raise bad_request(f"strict decoding error: {', '.join(unknown)}")
    return tuple(unknown)


def _body(request: Request) -> Json:
    try:
        body: Any = msgspec.json.decode(request.body)
    except msgspec.DecodeError as error:
        if request.content_type.endswith("yaml"):
            body = _yaml(request.body)
        else:
            raise bad_request(f"couldn't read the body: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body must be an object")
    return body


def _yaml(body: bytes) -> Any:
    import yaml  # kubectl sends YAML in server-side apply; nothing else does

    try:
        return yaml.safe_load(body)
    except yaml.YAMLError as error:
        raise bad_request(f"couldn't read the body: {error}") from error


def _no_namespace(kind: Kind) -> str:
    if kind.namespaced:
        raise bad_request("an object of this kind is created below its namespace")
    return ""


def _manager(request: Request) -> str:
    return request.query.get("fieldManager") or request.user_agent.partition("/")[0] or "unknown"


def _selector(request: Request, target: Target) -> selectors.Selector:
    return selectors.parse(
        target.kind.kind,
        namespace=target.namespace,
        labels=request.query.get("labelSelector", ""),
        fields=request.query.get("fieldSelector", ""),
    )


def _number(text: str, name: str) -> int:
    if not text.isdecimal():
        raise bad_request(f"{name} {text!r} is no number")
    return int(text)


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "").lower() in ("1", "true")


def _token(version: int, after: Place) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, *after]).encode()).decode().rstrip("=")


def _continued(token: str) -> tuple[int, Place]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except ValueError as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    return int(version), (str(namespace), str(name))


def too_large_version(version: int, current: int) -> Refusal:
    """Return the 504 for a version that this store has not reached."""
    cause = Cause(reason="ResourceVersionTooLarge", message="Too large resource version")
    return Refusal(
        504,
        "Timeout",
        f"Too large resource version: {version}, current: {current}",
        causes=[cause],
        details={"retryAfterSeconds": 1},
    )


def _shown(kind: Kind, item: Json) -> Json:
    return {"kind": kind.kind, "apiVersion": kind.api_version, **item}


def _bare(item: Json) -> Json:
    return {key: value for key, value in item.items() if key not in ("kind", "apiVersion")}


def _json(status: int, body: Json, warnings: tuple[str, ...] = ()) -> Answer:
    return Answer(status=status, body=msgspec.json.encode(body), warnings=warnings)
