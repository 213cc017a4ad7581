"""The command line as a person meets it: in this process, or in one of its own."""

import contextlib
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import typer

from gradatim.cli import main
from gradatim.cli.app import app

SOURCE = Path(__file__).parents[1] / "src"


def all_commands():
    """Every command by the words that call it, those of a group included: `features list`."""
    found = {}
    for name, one in typer.main.get_command(app).commands.items():
        inner = getattr(one, "commands", None)
        found |= {name: one} if inner is None else {f"{name} {word}": each for word, each in inner.items()}
    return found


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its stdout as JSON."""
        return json.loads(self.out)


def gradatim(*arguments):
    """Run a command in this process; an exception that is no error of ours comes through."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    words = ["gradatim", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
    return Answer(code, out.getvalue(), err.getvalue())


def worked(*arguments):
    """Run a command that must succeed."""
    answer = gradatim(*arguments)
    assert answer.code == 0, answer.err or answer.out
    return answer


MAIN = "from gradatim.cli import script; script()"


def started(*arguments, cwd, code=MAIN):
    """Start a command in a process of its own, on one thread, warnings being errors."""
    path = os.pathsep.join([str(SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        words, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def process(*arguments, cwd, code=MAIN):
    """Run a command in a process of its own to its end."""
    running = started(*arguments, cwd=cwd, code=code)
    out, err = running.communicate()
    return Answer(running.returncode, out, err)
