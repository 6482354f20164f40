"""One image, one entry point. Movers and readers start without the command line: they start often."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from holdfast.cli.wiring import DemoOrder, SandboxOrder
    from holdfast.model.settings import Settings


def main() -> None:
    """Run a mover, a reader, or the command line."""
    os.environ["PATH"] = _search_path()
    match sys.argv[1:]:
        case ["mover"]:
            from holdfast.mover import main as mover

            mover.main()
        case ["reader"]:
            from holdfast.reader import main as reader

            reader.main()
        case _:
            _command_line()


def _search_path() -> str:
    """Return PATH with the places first where the engines are installed beside us."""
    tools = os.environ.get("HOLDFAST_TOOLS", "")
    beside = os.path.dirname(sys.executable)  # noqa: PTH120  # pathlib is not needed to start a mover
    return os.pathsep.join(part for part in (tools, beside, os.environ.get("PATH", os.defpath)) if part)


def _command_line() -> None:
    from holdfast.cli import main as cli
    from holdfast.cli.wiring import Wiring

    cli.main(Wiring(operator=_operator, sandbox=_sandbox, demo=_demo))


# What these join is imported only when one of them is asked for.


async def _operator(kubeconfig: Path | None, context: str | None, settings: "Settings") -> None:
    from holdfast.assemble.operator import run_operator

    await run_operator(kubeconfig, context, settings)


async def _sandbox(order: "SandboxOrder") -> int:
    from holdfast.assemble.laptop import run_sandbox

    return await run_sandbox(order)


async def _demo(order: "DemoOrder") -> int:
    from holdfast.assemble.laptop import run_demo

    return await run_demo(order)


if __name__ == "__main__":
    main()
