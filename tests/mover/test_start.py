"""A mover starts thousands of times a day, so it loads only what its order needs."""

import subprocess
import sys

import pytest

HEAVY = ("click", "httpx2", "lightkube", "msgspec", "rich", "starlette", "uvicorn", "yaml")


@pytest.mark.parametrize("module", ["main", "backup", "restore", "verify", "delete", "initialize"])
def test_a_mover_imports_no_server_client_or_command_line(module: str) -> None:
    program = f"import sys, holdfast.__main__, holdfast.mover.{module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert not set(HEAVY) & set(loaded)
