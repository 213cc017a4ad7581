"""Commands in processes that are forked from one that has loaded torch already.

Each still does what the command does, from its words on, and can be killed as any other.
"""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")
# An optimizer loads torch._dynamo, the scalars of a run the last one.
LOADED = [
    "gradatim.engine.precompute",
    "gradatim.cli",
    "gradatim.report.tables",
    "torch._dynamo",
    "torch.utils.tensorboard",
]
CONTEXT.set_forkserver_preload(LOADED)


def _command(words, folder, told, environment):
    import torch

    from gradatim.cli import main

    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(1)
    with Path(told).open("a") as file:
        sys.stdout = sys.stderr = file
        sys.argv = ["gradatim", *words]
        main()


class Forked:
    """A command in a folder, begun at once; behaves as the process of `commandline.started`.

    What it tells on stdout and stderr is appended to a file, `told.txt` in its folder by default.
    """

    def __init__(self, folder, *words, told=None, **environment):
        environment = {**os.environ, "GRADATIM_FEATURES": str(folder / "features"), **environment}
        self._told = told or folder / "told.txt"
        self._process = CONTEXT.Process(target=_command, args=(words, str(folder), str(self._told), environment))
        self._process.start()
        self.pid = self._process.pid

    def poll(self):
        return self._process.exitcode

    returncode = property(poll)

    def communicate(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("gradatim", timeout)
        return self._told.read_text()

    def kill(self):
        self._process.kill()
