"""Options that many commands share, and what they say together. They may stand before or after the command."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import click

from holdfast.model.admission import Rule
from holdfast.model.intent import LABEL
from holdfast.model.settings import Settings

UNITS: Final[Mapping[str, timedelta]] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
CLASS: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
LABEL_KEY: Final = re.compile(r"([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ASKED: Final = "holdfast.asked"  # a context's meta is one for all nested commands
# These two mean the same to every command, not to the operator alone.
SHARED_SETTINGS: Final = {"namespace": "holdfast_namespace", "label": "label"}


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the shared options say: the way to the cluster, and how to answer."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespace: str | None = None
    holdfast_namespace: str = Settings().namespace
    label: str = LABEL
    output: Output = Output.TABLE
    debug: bool = False


class Duration(click.ParamType[timedelta]):
    """`90s`, `5m`, `2h`, `1d`, or several after another: `1h30m`."""

    name = "duration"
    _WHOLE: Final = re.compile(r"(\d+(?:\.\d+)?[smhd])+")
    _PART: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        text = str(value).strip()
        if not self._WHOLE.fullmatch(text):
            self.fail(f"{text!r} is no duration; write for example 90s, 5m, 2h or 1d", param, ctx)
        return sum((float(number) * UNITS[unit] for number, unit in self._PART.findall(text)), timedelta())


class Names(click.ParamType[tuple[str, ...]]):
    """Names with commas between them; "" is none."""

    name = "names"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        names = tuple(name for each in str(value).split(",") if (name := each.strip()))
        for name in names:
            if not CLASS.fullmatch(name):
                self.fail(f"{name!r} cannot be the name of a storage class; write for example local-path", param, ctx)
        return names


def asked(context: click.Context) -> Asked:
    """Return what the shared options say."""
    found = context.meta.get(_ASKED)
    return found if isinstance(found, Asked) else Asked()


def _note(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and parameter.name is not None:
        if parameter.name == "label" and not LABEL_KEY.fullmatch(value):
            raise click.BadParameter(f"{value!r} is no label key; write for example backup", context, parameter)
        noted: dict[str, Any] = {parameter.name: Output(value) if parameter.name == "output" else value}
        context.meta[_ASKED] = replace(asked(context), **noted)


def _shared(*names: str, environment: str | None = None, **attributes: Any) -> Callable[[bool], click.Option]:
    def build(first: bool) -> click.Option:
        # Only before the command does the environment count: there, a flag after the command overrides it.
        envvar = environment if first else None
        return click.Option(names, callback=_note, expose_value=False, envvar=envvar, show_envvar=first, **attributes)

    return build


OUTPUT: Final = _shared(
    "-o",
    "--output",
    type=click.Choice([each.value for each in Output]),
    default=None,
    help="A table for people, or JSON for programs.",
)
DEBUG: Final = _shared("--debug", is_flag=True, default=None, help="Show where an error came from.")
RULE: Final = (
    _shared(
        "--holdfast-namespace",
        environment="HOLDFAST_NAMESPACE",
        help="The namespace that holds Holdfast and its secrets.  [default: holdfast]",
    ),
    _shared(
        "--label",
        environment="HOLDFAST_LABEL",
        help=f"The label key that protects a claim or a namespace.  [default: {LABEL}]",
    ),
)
CLUSTER: Final = (
    _shared(
        "--kubeconfig",
        type=click.Path(path_type=Path),
        help="Default: $KUBECONFIG, the pod's service account, ~/.kube/config.",
    ),
    _shared("--context", help="The kubeconfig's context to use."),
    _shared("-n", "--namespace", help="The namespace of claims that are named without one."),
    *RULE,
)


def shared(*, cluster: bool, output: bool, rule: bool = False, first: bool = False) -> list[click.Parameter]:
    """Return the shared options of a command; `first` for those that stand before the command.

    `rule`: of those for a cluster only the ones that the admission rule depends on.
    """
    of_cluster = CLUSTER if cluster else RULE if rule else ()
    chosen = [*of_cluster, *((OUTPUT,) if output else ()), DEBUG]
    return [build(first) for build in chosen]


def by_name(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the classes that are held by name."""
    return click.option(
        "--by-name",
        metavar="CLASS,…",
        type=Names(),
        default="",
        envvar="HOLDFAST_BY_NAME",
        show_envvar=True,
        help="Storage classes whose provisioner ignores dataSourceRef, such as local-path: held by volume name.",
    )(command)


def rule_of(chosen: Asked, by_name: tuple[str, ...]) -> Rule:
    """Return the admission rule that the options describe."""
    return Rule(own_namespace=chosen.holdfast_namespace, label=chosen.label, by_name=by_name)


def settings_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a command with the operator's settings: flag over environment over default."""
    for field in reversed(fields(Settings)):
        if field.name in SHARED_SETTINGS:
            continue
        default = getattr(Settings(), field.name)
        text = str(field.metadata["help"])
        command = click.option(
            f"--{field.name.replace('_', '-')}",
            type=_type(default),
            default=_default(default),
            envvar=f"HOLDFAST_{field.name.upper()}",
            show_default=True,
            show_envvar=True,
            help=f"{text[:1].upper()}{text[1:]}.",
        )(command)
    return command


def _default(value: object) -> object:
    match value:
        case timedelta():
            return written(value)
        case tuple():
            return ",".join(value)
        case _:
            return value


def _type(default: object) -> click.ParamType[Any]:
    match default:
        case timedelta():
            return Duration()
        case int():
            return click.IntRange(min=1)
        case tuple():
            return Names()
        case _:
            return click.STRING


def settings(chosen: Asked, values: Mapping[str, Any]) -> Settings:
    """Return the operator's settings."""
    common = {name: getattr(chosen, option) for name, option in SHARED_SETTINGS.items()}
    return Settings(**common, **values)


def written(duration: timedelta) -> str:
    """Return a duration as `Duration` reads it: `2h`, `1d12h`, `90s` as `1m30s`."""
    rest, parts = duration, []
    for unit in reversed(tuple(UNITS)):
        count, rest = divmod(rest, UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    if rest or not parts:
        parts.append(f"{rest.total_seconds():g}s")
    return "".join(parts)
