"""What a run ran on: versions, machine, command."""

import os
import platform
import sys
from typing import Any

import torch

from gradatim.version import __version__


def environment() -> dict[str, Any]:
    """Versions and machine, for `run.json`."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "gradatim": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpus": gpus,
        "command": sys.argv,
        "folder": os.getcwd(),  # noqa: PTH109 - a string for JSON
    }
