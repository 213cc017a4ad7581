"""The command line: one file a command, each parses, calls the library and prints."""

import os
import sys

from gradatim.cli.app import app
from gradatim.errors import GradatimError


def main() -> None:
    """Run the command line; an error of ours is one message on stderr and exit code 1."""
    # Before torch is loaded: threads that spin while they wait starve each other where cores are shared; small
    # models were measured to train ten times slower so. A value that is set already wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app()
    except GradatimError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)
