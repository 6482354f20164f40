"""Set up everything that Holdfast needs on this machine: `python3 -m tools.setup`, usually by `make setup`.

This file alone must run under any Python 3: it finds one that is new enough, or says what to install.
"""

import os
import shutil
import sys

OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11", "python3.14")


def start_again_with_newer_python() -> None:
    """Replace this process by a newer Python from PATH; return only when there is none."""
    for name in NEWER:
        found = shutil.which(name)
        if found and os.environ.get("HOLDFAST_SETUP_PYTHON") != "1":
            os.environ["HOLDFAST_SETUP_PYTHON"] = "1"  # once: a wrapper of that name may start the old one
            os.execv(found, [found, "-m", "tools.setup"] + sys.argv[1:])  # noqa: RUF005


if __name__ == "__main__":
    if sys.version_info[:2] < OLDEST:
        start_again_with_newer_python()
        sys.exit(  # no f-string: some Pythons that may run this line cannot read one
            "✗ %s is Python %d.%d; Holdfast needs Python 3.11 or newer.\n"
            "  Install one (Debian 12, Ubuntu 24.04 and newer: apt-get install python3 python3-venv), or name it:\n"
            "  make setup PYTHON=/path/to/python3.11" % (sys.executable, sys.version_info[0], sys.version_info[1])
        )
    from tools import bootstrap

    sys.exit(bootstrap.main(sys.argv[1:]))
