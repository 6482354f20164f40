"""Asks an API server what the expectations say, over plain HTTP: any cluster will do.

`python runner.py --url URL --token TOKEN [--ca FILE] [--tag api]`. It works in one namespace and
one CRD group with random names and takes them away again. Nothing of Holdfast is imported.
"""

import argparse
import asyncio
import json
import secrets
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2
import yaml

HERE: Final = Path(__file__).parent
_TYPES: Final = {
    "merge": "application/merge-patch+json",
    "apply": "application/apply-patch+yaml",
    "json": "application/json",
}
_ANY: Final = "$any"
_MISSING: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one expectation came to: nothing wrong, or what was different."""

    name: str
    tags: tuple[str, ...]
    wrong: str = ""


@dataclass(kw_only=True)
class Run:
    """One run against one server."""

    client: httpx2.AsyncClient
    templates: Mapping[str, Any]
    variables: dict[str, str]
    made: list[str] = field(default_factory=list)

    async def probe(self, number: int, expectation: Mapping[str, Any]) -> Result:
        self.variables["name"] = f"e{number}-{self.variables['ns'][-5:]}"
        wrong = ""
        for index, step in enumerate(expectation["steps"]):
            try:
                wrong = await self._step(step)
            except httpx2.HTTPError as error:
                wrong = f"{type(error).__name__}: {error}"
            if wrong:
                wrong = f"step {index + 1}: {wrong}"
                break
        return Result(name=expectation["name"], tags=tuple(expectation["tags"]), wrong=wrong)

    async def _step(self, step: Mapping[str, Any]) -> str:
        if "watch" in step:
            return await self._watch(step)
        end = time.monotonic() + step.get("within", 0)
        while True:
            answer = await self._send(step)
            wrong = self._compare(step.get("expect", {}), answer)
            if not wrong or time.monotonic() >= end:
                break
            await asyncio.sleep(0.1)
        if not wrong:
            for name, path in step.get("save", {}).items():
                self.variables[name] = str(_at(_body(answer), path))
        return wrong

    async def _send(self, step: Mapping[str, Any]) -> httpx2.Response:
        path = self._filled(step["path"])
        method = step["do"]
        body: Any = None
        if "of" in step:
            body = _merged(self.templates[step["of"]], step.get("with", {}))
        elif "body" in step:
            body = step["body"]
        content = step.get("text") if body is None else json.dumps(self._filled(body))
        kind = _TYPES[step.get("as", "merge" if method == "PATCH" else "json")]
        answer = await self.client.request(
            method,
            path,
            params=self._filled(step.get("query", {})),
            content=content,
            headers={"content-type": kind} if content is not None else {},
        )
        if answer.status_code == 201 and f"/namespaces/{self.variables['ns']}/" not in path:
            self.made.append(path if method == "PATCH" else f"{path}/{_at(_body(answer), 'metadata/name')}")
        return answer

    async def _watch(self, step: Mapping[str, Any]) -> str:
        wanted = [list(each) for each in self._filled(step["events"])]
        query = {"watch": "true", "timeoutSeconds": "20", **self._filled(step.get("query", {}))}
        found: list[list[str]] = []
        async with self.client.stream("GET", self._filled(step["watch"]), params=query, timeout=30) as answer:
            if answer.status_code != 200:
                await answer.aread()
                return f"watch answered {answer.status_code}: {answer.text[:200]}"
            async for line in answer.aiter_lines():
                event = json.loads(line)
                if event["type"] == "BOOKMARK":
                    continue
                shown = _at(event["object"], "code" if event["type"] == "ERROR" else "metadata/name")
                found.append([event["type"], str(shown)])
                if len(found) >= len(wanted):
                    break
        return "" if found == wanted else f"events {found}, expected {wanted}"

    def _compare(self, expected: Mapping[str, Any], answer: httpx2.Response) -> str:
        body = _body(answer)
        causes = _at(body, "details/causes")
        causes = causes if isinstance(causes, list) else []
        for key, value in expected.items():
            wanted = self._filled(value)
            match key:
                case "status":
                    found: Any = answer.status_code
                case "reason":
                    found = _at(body, "reason")
                case "cause":
                    found = wanted if any(each.get("reason") == wanted for each in causes) else causes
                case "field":
                    found = wanted if any(wanted in each.get("field", "") for each in causes) else causes
                case "names":
                    found = [_at(item, "metadata/name") for item in body["items"]] if "items" in body else body
                case "warning":
                    found = "warning" in answer.headers
                case "type":
                    found = answer.headers["content-type"].partition(";")[0]
                case "absent":
                    present = [path for path in wanted if _at(body, path) is not _MISSING]
                    found = wanted if not present else f"present: {present}"
                case "fields":
                    wrong = [_differs(body, path, each) for path, each in wanted.items()]
                    found, wanted = [each for each in wrong if each], []
                case _:
                    raise ValueError(f"an expectation of {key!r} is not known")
            if found != wanted:
                return f"{key} {found!r}, expected {wanted!r} ({answer.status_code} {answer.text[:200]})"
        return ""

    def _filled(self, value: Any) -> Any:
        """Return the value with `$name` replaced by what it stands for."""
        if isinstance(value, str):
            for name in sorted(self.variables, key=len, reverse=True):
                value = value.replace(f"${name}", self.variables[name])
            return value
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        if isinstance(value, dict):
            return {self._filled(key): self._filled(each) for key, each in value.items()}
        return value

    async def clean(self) -> None:
        """Take away what the run made, finalizers first."""
        for path in reversed(self.made):
            patch = {"metadata": {"finalizers": None}}
            await self.client.patch(path, content=json.dumps(patch), headers={"content-type": _TYPES["merge"]})
            await self.client.delete(path)


def load() -> list[dict[str, Any]]:
    """Return all expectations, in order of file and place."""
    files = sorted(path for path in HERE.glob("*.yaml") if path.name != "templates.yaml")
    return [each for path in files for each in yaml.safe_load(path.read_text(encoding="utf-8"))]


async def run(client: httpx2.AsyncClient, tags: frozenset[str]) -> AsyncGenerator[Result]:
    """Yield the result of every expectation whose tags are all in `tags`."""
    mark = secrets.token_hex(3)
    namespace, group = f"expect-{mark}", f"{mark}.expectations.test"
    templates = yaml.safe_load((HERE / "templates.yaml").read_text(encoding="utf-8"))
    inside = f"/api/v1/namespaces/{namespace}"
    variables = {
        "ns": namespace,
        "group": group,
        "claims": f"{inside}/persistentvolumeclaims",
        "configmaps": f"{inside}/configmaps",
        "secrets": f"{inside}/secrets",
        "pods": f"{inside}/pods",
        "events": f"{inside}/events",
        "leases": f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases",
        "jobs": f"/apis/batch/v1/namespaces/{namespace}/jobs",
        "things": f"/apis/{group}/v1/namespaces/{namespace}/things",
        "volumes": "/api/v1/persistentvolumes",
        "namespaces": "/api/v1/namespaces",
    }
    this = Run(client=client, templates=templates, variables=variables)
    prepared: list[Mapping[str, Any]] = [
        {"do": "POST", "path": "$namespaces", "of": "namespace", "with": {"metadata": {"name": "$ns"}}},
        {"do": "POST", "path": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "of": "definition"},
        {"do": "GET", "path": "$things", "within": 10, "expect": {"status": 200}},
    ]
    try:
        for step in prepared:
            result = await this.probe(0, {"name": "prepare", "tags": [], "steps": [step]})
            if result.wrong:
                yield result
                return
        for number, expectation in enumerate(load(), start=1):
            if tags.issuperset(expectation["tags"]):
                yield await this.probe(number, expectation)
    finally:
        await this.clean()


def _body(answer: httpx2.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return {}


def _at(value: Any, path: str) -> Any:
    """Return what stands at a JSON pointer (RFC 6901, without the first slash)."""
    for part in path.split("/"):
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and key in value:
            value = value[key]
        elif isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        else:
            return _MISSING
    return value


def _differs(body: Any, path: str, wanted: Any) -> str:
    found = _at(body, path)
    if found is _MISSING:
        return f"{path} is missing"
    return "" if wanted == _ANY or found == wanted else f"{path} is {found!r}, not {wanted!r}"


def _merged(target: Any, patch: Any) -> Any:
    if not isinstance(patch, dict) or not isinstance(target, dict):
        return patch
    result = dict(target)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key, {}), value)
    return result


async def main() -> int:
    """Print what differs, and return 1 when anything does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--ca")
    parser.add_argument("--tag", action="append", default=[])
    arguments = parser.parse_args()
    differing = 0
    async with httpx2.AsyncClient(
        base_url=arguments.url,
        headers={"authorization": f"Bearer {arguments.token}"},
        verify=arguments.ca or True,
        trust_env=False,
        timeout=30,
    ) as client:
        version = (await client.get("/version")).json()["gitVersion"]
        async for result in run(client, frozenset(arguments.tag or ["api", "controllers"])):
            if result.wrong:
                differing += 1
                print(f"{version} {result.name}: {result.wrong}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
