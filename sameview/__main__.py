"""The ``sameview`` command."""

import sys

from sameview.cli import run


def main() -> None:
    """Run the command line and exit with the codes every command shares."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
