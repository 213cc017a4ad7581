"""One prepared folder for all commands: scenes, finished runs, files of the authors."""

import pytest

from gradatim import run
from gradatim.systems.bombkd.feature_files import export_features
from systems.bombkd.features import records
from tiny import authors_files, finished_run
from tiny_bombkd import clip_files, files_plan, fusion
from tiny_flowchroma import model_file, scene_folder
from tiny_ifvit import chain, prints
from tiny_multigriddet import detector_run, shapes_folder


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """The folder; not to be changed."""
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finished_run(folder)
    authors_files(folder)
    watched(folder)
    shapes_folder(folder / "boxes")
    detector_run(folder / "detector")
    prints(folder / "prints")
    chain(folder / "matcher")
    model_file(folder / "colored.safetensors")
    scene_folder(folder / "scenes/a")
    export_features(folder / "features", records(9), dataset="ucf101", split="train")
    return folder


def watched(folder):
    """Little videos in `clips`, and in `watched` a run that learned from them."""
    probe = fusion(
        name="probe", task="probe", init={"student": "fresh", "probe": "fresh"}, train=["probe"], epochs=None, steps=1
    )
    run(files_plan(clip_files(folder / "clips", count=4, validate_count=4), probe), folder / "watched")


@pytest.fixture
def place(prepared, monkeypatch, tmp_path):
    """The prepared folder as the current one; plans that were explained are kept elsewhere."""
    monkeypatch.chdir(prepared)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return prepared
