"""Where tests find the real programs: PATH, or the directory named by HOLDFAST_TOOLS."""

import os
import shutil

import pytest


def path_with_tools() -> str:
    """Return a PATH value on which the tools directory comes first."""
    tools = os.environ.get("HOLDFAST_TOOLS", "")
    return os.pathsep.join(part for part in (tools, os.environ.get("PATH", "")) if part)


def find_program(name: str) -> str:
    """Return the absolute path of a program; skip the test, saying why, where there is none."""
    found = shutil.which(name, path=path_with_tools())
    if found is None:
        pytest.skip(f"{name} is neither on PATH nor in $HOLDFAST_TOOLS (make setup builds it)")
    return found
