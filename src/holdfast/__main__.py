"""One image, one entry point. Movers and readers start without the command line: they start often."""

import sys


def main() -> None:
    """Run a mover, a reader, or the command line."""
    match sys.argv[1:]:
        case ["mover"]:
            from holdfast.mover import main as mover

            mover.main()
        case ["reader"]:
            from holdfast.reader import main as reader

            reader.main()
        case _:
            from holdfast.cli import main as cli

            cli.main()


if __name__ == "__main__":
    main()
