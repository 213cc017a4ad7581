"""The command line: one file a command, each parses, calls the library and prints."""

import gc
import os
import sys
from collections.abc import Callable
from types import FunctionType

from gradatim.cli.app import app
from gradatim.errors import GradatimError


def main() -> None:
    """Run the command line; an error of ours is one message on stderr and exit code 1."""
    # Before torch is loaded: threads that spin while they wait make small models twice as fast on idle cores, and up to
    # ten times slower on cores that others use too. A value that is set already wins.
    if _cores_are_shared():
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _with_room(app)
    except GradatimError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        sys.exit(1)


def script() -> None:
    """`main` in a process of its own, that `plan` leaves at once: taking torch apart costs a sixth of its first look.

    It writes nothing but its answer and a file that is complete when its command returns, and starts no thread; its
    garbage is not worth collecting either.
    """
    if sys.argv[1:2] != ["plan"]:
        main()
        return
    gc.disable()
    code: object = 0
    try:
        main()
    except SystemExit as end:
        code = end.code
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        code = 1
    os._exit(code if isinstance(code, int) else int(code is not None))


_ROOM = 1 << 17


def _with_room(call: Callable[[], object]) -> None:
    """Call a function from a frame of a megabyte.

    Python keeps frames in chunks of 16 KB, and asks the system for another, and gives it back, at every call that
    happens to cross from one into the next: loading torch and then working at such a depth took a tenth longer. What is
    called from a large frame has the rest of a chunk twice its size.
    """
    code = _called.__code__.replace(co_stacksize=_ROOM)
    FunctionType(code, globals())(call)


def _called(call: Callable[[], object]) -> None:
    call()


def _cores_are_shared() -> bool:
    """Whether others were computing in the last minute, on more than half of the cores."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1) / 2
    except OSError:
        return True
