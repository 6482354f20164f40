"""The command: `python -m tests.cluster up | down | check | status | image | run COMMAND…`."""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from tests.cluster import lifecycle, places, requirements
from tests.cluster.trouble import ClusterError
from tools.progress import SetupError


def main() -> int:
    """Do what is asked and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes, for tests.")
    parser.add_argument("action", choices=("up", "down", "check", "status", "image", "run"))
    parser.add_argument("command", nargs=argparse.REMAINDER, help="for run: what is run while the cluster is there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = sayer()
    try:
        match options.action:
            case "status":
                print("\n".join(lifecycle.status()) or "there is no cluster")
                return 0 if lifecycle.is_up() else 1
            case "check":
                found = [] if lifecycle.is_up() else requirements.problems()
                print("\n".join(found) or "a cluster can run here")
                return 1 if found else 0
            case "down":
                with lifecycle.locked():
                    return end(say)
            case "up":
                start(say)
                print(f"export KUBECONFIG={places.KUBECONFIG}")
                return 0
            case "image":
                from tests.cluster import images

                lifecycle.refuse_anothers()
                images.bring_holdfast()
                say(f"✓ {places.HOLDFAST_IMAGE} is what the checkout is")
                return 0
            case _:
                return run(options.command, say)
    except (ClusterError, SetupError) as problem:
        print(f"✗ {problem}", file=sys.stderr)
        return 1


def start(say: lifecycle.Say) -> None:
    with lifecycle.locked():
        lifecycle.up(say)
    say("✓ the cluster is up")


def end(say: lifecycle.Say) -> int:
    left = lifecycle.down(say)
    for each in left:
        print(f"  {each}", file=sys.stderr)
    say("✗ the machine is not as it was" if left else "✓ the machine is as it was")
    return 1 if left else 0


def run(command: list[str], say: lifecycle.Say) -> int:
    """Run a command with a cluster; take the cluster away afterwards unless it was there before."""
    was_up = lifecycle.is_up()
    code = 1
    try:
        start(say)
        code = subprocess.run(command, env=lifecycle.environment(), check=False).returncode
    finally:
        if not was_up:
            with lifecycle.locked():
                code = end(say) or code
    return code


def sayer() -> Callable[[str], None]:
    """Return what tells a person how far it is, with the seconds so far."""
    started = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {text}", file=sys.stderr, flush=True)

    return say


if __name__ == "__main__":
    sys.exit(main())
