"""One prepared folder for all commands: scenes, a finished run, files of the authors."""

import pytest

from tiny import authors_files, finished_run


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder; not to be changed."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finished_run(folder)
    authors_files(folder)
    return folder


@pytest.fixture
def place(prepared, monkeypatch, tmp_path):
    """The prepared folder as the current one; plans that were explained are kept elsewhere."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return prepared
