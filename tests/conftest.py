"""Fixtures that all tests share: where parity numbers and real data lie, and one thread for exact repeats."""

import itertools
import os
from pathlib import Path

# Before torch is loaded, as the command line does: threads that wait shall not spin where cores are shared.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch

# What is computed here is tiny: a second thread only waits, for longer than it works where cores are shared.
torch.set_num_threads(1)

_count = itertools.count()


@pytest.fixture(autouse=True, scope="session")
def _features_of_the_session(tmp_path_factory):
    """Feature stores of fixtures that several tests share, never the user's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADATIM_FEATURES", str(tmp_path_factory.getbasetemp() / "features"))
        yield


@pytest.fixture(autouse=True)
def _own_features(tmp_path_factory, monkeypatch):
    """Feature stores of each test in a folder of its own, made only when asked for."""
    monkeypatch.setenv("GRADATIM_FEATURES", str(tmp_path_factory.getbasetemp() / f"features-{next(_count)}"))


@pytest.fixture(autouse=True)
def _one_thread():
    # What is tested may have changed it.
    torch.set_num_threads(1)


def _folder(variable: str) -> Path:
    value = os.environ.get(variable)
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} names no folder: nothing to compare with here")
    return Path(value)


@pytest.fixture(scope="session")
def parity_root() -> Path:
    """Folder of the originals' numbers, one folder a system and `fill.py`."""
    return _folder("GRADATIM_PARITY")


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real images."""
    return _folder("GRADATIM_DATA")
