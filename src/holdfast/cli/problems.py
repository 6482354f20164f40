"""What went wrong, as one line for a person and one exit code for a program."""

import sys
import traceback
from enum import IntEnum
from typing import TYPE_CHECKING, Final, NoReturn

import click

from holdfast.cli.text import ended, visible

if TYPE_CHECKING:
    from holdfast.kube.errors import KubeError


class ExitCode(IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    ATTENTION = 3
    CLUSTER = 4
    INTERRUPTED = 130


MEANINGS: Final = {
    ExitCode.OK: "Everything is as asked; for `status`: all is well.",
    ExitCode.FAILED: "It failed, or was refused; the line on stderr says what, where and what to do.",
    ExitCode.USAGE: "The command cannot be read: an unknown option, a missing or malformed argument.",
    ExitCode.ATTENTION: "`status`, `explain`, `snapshots`, `check`: the answer is whole, and something needs a person.",
    ExitCode.CLUSTER: "The cluster cannot be reached, or it refuses who we are or what we ask.",
    ExitCode.INTERRUPTED: "Stopped by Ctrl-C. Runs that were started go on.",
}


class Problem(Exception):
    """Something that a person can understand and change: what is wrong and where, and what to do."""

    def __init__(self, what: str, advice: str = "", code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice
        self.code = code

    @property
    def line(self) -> str:
        """Return the problem as one line."""
        return " ".join(visible(f"{ended(self.what)} {self.advice}").split())


def of(error: Exception) -> Problem:
    """Return the problem that an exception stands for."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, ExceptionGroup):
        return of(error.exceptions[0])
    # What raises these has imported them; commands that speak to no cluster need not.
    if "holdfast.kube.errors" in sys.modules:
        from holdfast.kube.errors import KubeError

        if isinstance(error, KubeError):
            return _kube(error)
    if "holdfast.engines.protocol" in sys.modules:
        from holdfast.engines.protocol import EngineFailure
        from holdfast.render import advice

        if isinstance(error, EngineFailure):
            return Problem(f"{error.failure.kind}: {error.failure.detail}", advice.on(error.failure.kind))
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return Problem(f"{error.strerror}{where}")
    return Problem(f"{type(error).__name__}: {error}", "This is a fault in Holdfast: run it again with --debug.")


def _kube(error: "KubeError") -> Problem:
    from holdfast.kube import errors

    match error:
        case errors.Unreachable():
            advice = "Is the cluster running, and is this its kubeconfig (--kubeconfig, --context)?"
            return Problem(f"The cluster cannot be reached: {error.message}", advice, ExitCode.CLUSTER)
        case errors.Unauthorized():
            advice = "Log in again, or name another --context."
            return Problem(f"The cluster does not know who you are: {error.message}", advice, ExitCode.CLUSTER)
        case errors.Forbidden():
            advice = "Ask a cluster administrator for this right, or name another --context."
            return Problem(f"The cluster refuses: {error.message}", advice, ExitCode.CLUSTER)
        case errors.NotServed():
            advice = "Is Holdfast installed here? Its kinds come with `holdfast render crds | kubectl apply -f -`."
            return Problem(f"The cluster does not know a kind: {error.message}", advice)
        case _ if error.reason == "NoConfiguration":
            return Problem(error.message, code=ExitCode.CLUSTER)
        case _:
            return Problem(f"{error.reason}: {error.message}")


def report(error: Exception, *, debug: bool) -> NoReturn:
    """Say on stderr what is wrong, in one line, and end with its exit code."""
    problem = of(error)
    if debug:
        traceback.print_exception(error)
    click.echo(f"holdfast: {problem.line}", err=True)
    raise click.exceptions.Exit(problem.code)
