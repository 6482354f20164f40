"""`holdfast check`: manifests from files, before they are applied. No cluster is asked."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from rich.text import Text

from holdfast.cli import output
from holdfast.cli.options import Asked, Output
from holdfast.cli.problems import ExitCode, Problem
from holdfast.cli.text import counted, ended
from holdfast.decide import check
from holdfast.kube import manifest, objects, specs
from holdfast.model.admission import Creation, Rule
from holdfast.model.claim import ClaimRef
from holdfast.model.finding import Finding, Level
from holdfast.model.request import GROUP

SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})
STDIN: Final = "-"
RENDER_FIRST: Final = "Is it a template? Render it first: `helm template …`, `kubectl kustomize …`."
# What every stored object has, and no manifest: the parser asks for it.
STORED: Final = {"uid": "none", "resourceVersion": "0", "creationTimestamp": "2000-01-01T00:00:00Z"}

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an object stands: the file, the document in it (the first is 1), and the object."""

    file: str
    document: int
    object: str

    def __str__(self) -> str:
        return f"{self.file}:{self.document} ({self.object})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    place: Place
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What `holdfast check` shows."""

    claims: int
    errors: int
    findings: tuple[Found, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object of a file."""

    place: Place
    kind: str
    item: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claim as it will be created: written as such, or the first that a StatefulSet makes of a template."""

    place: Place
    item: Json
    template: bool


def run(asked: Asked, files: Sequence[str], namespace: str, by_name: tuple[str, ...], *, require_hold: bool) -> int:
    """Show what was found; 3 says that there are errors."""
    manifests = [each for file in files for each in read(file)]
    if not manifests:
        raise Problem(f"There is no Kubernetes object in {', '.join(files)}", RENDER_FIRST)
    rule = Rule(own_namespace=asked.holdfast_namespace, label=asked.label, by_name=by_name)
    made = review(manifests, rule, namespace, require_hold=require_hold)
    if asked.output is Output.JSON:
        output.write_json(made)
    else:
        output.write(_screen(made), output.console())
    return ExitCode.ATTENTION if made.errors else ExitCode.OK


# Reading


def read(file: str) -> Iterator[Manifest]:
    """Yield the objects of a file, of all files below a directory, or of stdin; raise Problem for what is none."""
    path = Path(file)
    if file == STDIN:
        yield from _documents("stdin", sys.stdin.buffer.read())
    elif path.is_dir():
        for each in sorted(each for each in path.rglob("*") if each.suffix in SUFFIXES and each.is_file()):
            yield from _documents(str(each), each.read_bytes())
    else:
        yield from _documents(file, path.read_bytes())


def _documents(file: str, content: bytes) -> Iterator[Manifest]:
    try:
        documents = list(yaml.safe_load_all(content.decode()))
    except UnicodeDecodeError as error:
        raise Problem(f"{file} is no text: {error.reason}", RENDER_FIRST) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        raise Problem(f"{file}:{line} {getattr(error, 'problem', None) or 'this is no YAML'}", RENDER_FIRST) from error
    for number, document in enumerate(documents, start=1):
        if document is not None:
            yield from _objects(file, number, document)


def _objects(file: str, number: int, document: object) -> Iterator[Manifest]:
    if not isinstance(document, dict):
        raise Problem(f"{file}: document {number} is no Kubernetes object", RENDER_FIRST)
    kind, items = document.get("kind"), document.get("items")
    if not isinstance(kind, str):
        return  # values, kustomizations and the like lie beside manifests
    if kind.endswith("List") and isinstance(items, list):
        for item in items:
            yield from _objects(file, number, item)
        return
    meta = document.get("metadata")
    meta = meta if isinstance(meta, dict) else {}
    name = "/".join(str(meta[key]) for key in ("namespace", "name") if meta.get(key))
    place = Place(file=file, document=number, object=f"{kind} {name or meta.get('generateName', '')}".strip())
    yield Manifest(place=place, kind=kind, item=document | {"metadata": meta})


# Judging


def review(manifests: Sequence[Manifest], rule: Rule, namespace: str, *, require_hold: bool) -> CheckReport:
    """Return everything that is found; `namespace` is that of objects that name none."""
    found: list[Found] = []

    def note(place: Place, findings: Iterator[Finding]) -> None:
        try:
            found.extend(Found(place=place, finding=each) for each in findings)
        except ValueError as error:  # a field is nonsense; the parsers say which
            found.extend(Found(place=place, finding=check.unreadable(line)) for line in str(error).splitlines())

    labels: dict[str, Mapping[str, str]] = {}
    for each in manifests:
        if each.kind == "Namespace":
            note(each.place, _namespace(each, rule, labels))
        elif str(each.item.get("apiVersion")).startswith(f"{GROUP}/"):
            note(each.place, _ours(each))
    claims = [claim for each in manifests for claim in _claims(each, namespace)]
    creations: dict[ClaimRef, tuple[Place, Creation]] = {}
    for claim in claims:
        note(claim.place, _claim(claim, rule, labels, creations, require_hold=require_hold))
    clashes = check.clashes([creation for _, creation in creations.values()], rule)
    found.extend(Found(place=creations[ref][0], finding=clash) for ref, clash in clashes.items())
    places = [*(each.place for each in manifests), *(each.place for each in claims)]
    order = {place: index for index, place in enumerate(places)}
    found.sort(key=lambda each: (each.place.file, each.place.document, order[each.place]))
    errors = sum(each.finding.level is Level.ERROR for each in found)
    return CheckReport(claims=len(claims), errors=errors, findings=tuple(found))


def _claims(each: Manifest, namespace: str) -> Iterator[Claimed]:
    meta = {"namespace": namespace} | each.item["metadata"]
    if each.kind == "PersistentVolumeClaim":
        yield Claimed(place=each.place, item=each.item | {"metadata": meta}, template=False)
    spec = each.item.get("spec")
    if each.kind != "StatefulSet" or not isinstance(spec, dict):
        return
    templates = spec.get("volumeClaimTemplates")
    for template in templates if isinstance(templates, list) else ():
        own = template.get("metadata") if isinstance(template, dict) else None
        if isinstance(own, dict):
            place = replace(each.place, object=f"{each.place.object} template {own.get('name', '')}")
            yield Claimed(place=place, item=template | {"metadata": _made(own, meta, spec)}, template=True)


def _made(template: Json, owner: Json, spec: Json) -> Json:
    """Return the metadata of the first claim that a StatefulSet makes: its selector's labels are added."""
    selected = _part(_part(spec, "selector"), "matchLabels")
    controller = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner.get("name", ""), "controller": True}
    return template | {
        "name": f"{template.get('name', '')}-{owner.get('name', '')}-0",
        "namespace": owner["namespace"],
        "labels": _part(template, "labels") | selected,
        "ownerReferences": [controller],
    }


def _part(parent: Json, name: str) -> Json:
    found = parent.get(name)
    return found if isinstance(found, dict) else {}


def _claim(
    claim: Claimed,
    rule: Rule,
    labels: Mapping[str, Mapping[str, str]],
    creations: dict[ClaimRef, tuple[Place, Creation]],
    *,
    require_hold: bool,
) -> Iterator[Finding]:
    known = labels.get(str(claim.item["metadata"]["namespace"]), {})
    creation = manifest.creation(claim.item, known)
    if creation.name:
        creations.setdefault(ClaimRef(namespace=creation.namespace, name=creation.name), (claim.place, creation))
    yield from check.claim(creation, rule, require_hold=require_hold, template=claim.template)


def _namespace(each: Manifest, rule: Rule, labels: dict[str, Mapping[str, str]]) -> Iterator[Finding]:
    found = manifest.texts(each.item["metadata"], "labels")
    labels[str(each.item["metadata"].get("name", ""))] = found
    yield from check.namespace(found, rule)


def _ours(each: Manifest) -> Iterator[Finding]:
    meta, spec = each.item["metadata"], each.item.get("spec") or {}
    if not isinstance(spec, dict):
        raise ValueError("spec is no object")
    match each.kind:
        case "Restore":
            yield from check.restore(str(meta.get("name", "")), spec)
        case "Repository":
            try:
                specs.repository(msgspec.convert(each.item | {"metadata": meta | STORED}, objects.Repository))
            except msgspec.ValidationError as error:
                raise ValueError(str(error)) from error
        case _:
            return  # Protections are made by Holdfast


# Showing


def _screen(made: CheckReport) -> Iterator[Text]:
    for each in made.findings:
        bad = each.finding.level is Level.ERROR
        head = output.text(f"{each.place}: ", "bold").append("error: " if bad else "note: ", "red" if bad else "dim")
        todo = f" {ended(each.finding.todo)}" if each.finding.todo else ""
        yield head.append_text(output.text(f"{ended(each.finding.what)}{todo}"))
    notes = len(made.findings) - made.errors
    yield output.text(f"{counted(made.claims, 'claim')}: {counted(made.errors, 'error')}, {counted(notes, 'note')}.")
