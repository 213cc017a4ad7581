"""Every shipped recipe of every system plans and runs, one batch a stage, on tiny parts and files made here."""

import pytest

from commandline import worked
from gradatim import explain, find_system, run, system_names
from gradatim.find import read_plan_document
from gradatim.plan import override
from systems.bombkd.trees import TREES
from tiny import MODEL, authors_files, scenes, sets
from tiny_bombkd import tiny_changes
from tiny_flowchroma import frame_folders
from tiny_flowchroma import tiny_changes as color_changes
from tiny_ifvit import print_files
from tiny_ifvit import tiny_changes as print_changes
from tiny_multigriddet import detector_files
from tiny_multigriddet import tiny_changes as detector_changes

RECIPES = [f"{name}/{recipe}" for name in system_names() for recipe in find_system(name).recipes]
MODES = [name for name in RECIPES if name.startswith("maefuse/train_")]
BOXES = [name for name in RECIPES if name.startswith("multigriddet/")]
PRINTS = [name for name in RECIPES if name.startswith("ifvit/")]
COLORS = [name for name in RECIPES if name.startswith("flowchroma/")]
VIDEO = [name for name in RECIPES if name.startswith("bombkd/")]
DATA = {"UCF101": "ucf101", "breakfast": "breakfast", "UCF-Crime": "ucf-crime"}
"""Folder that the video recipes name -> data set."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Scenes and little videos, and files under the names that the recipes give them."""
    folder = tmp_path_factory.mktemp("recipes")
    scenes(folder / "data")
    authors_files(folder)
    for name, dataset in DATA.items():
        TREES[dataset](folder / "data" / name)
    detector_files(folder)
    print_files(folder)
    frame_folders(folder)
    return folder


def changes(name):
    """What makes a recipe tiny."""
    if name in BOXES:
        return detector_changes(name)
    if name in PRINTS:
        return print_changes(name)
    if name in COLORS:
        return color_changes(name)
    return tiny_changes(name) if name in VIDEO else picture_changes(name)


def picture_changes(name):
    """Small transformers; the modes start from the authors' files, which ask for the authors' attention."""
    model = {**MODEL, **({"attention_axis": "batch"} if name in MODES else {})}
    own = ["defaults.data.size=16"] if name in MODES or name.endswith("/paper") else ["defaults.data.crop=16"]
    return [f"model={model}".replace("'", ""), "defaults.batch_size=2", *own]


def test_the_recipes_that_there_are():
    assert len(RECIPES) == 31
    assert len(MODES) == 9
    assert {name for name in RECIPES if name not in MODES} == {
        "maefuse/demo", "maefuse/small", "maefuse/paper", "bombkd/motion", "bombkd/converters", "bombkd/fusion",
        "bombkd/paper", "bombkd/vad", "bombkd/probe", "multigriddet/finetune", "multigriddet/from_backbone",
        "multigriddet/shapes", "multigriddet/coco128-small", "ifvit/dense", "ifvit/matcher", "ifvit/paper",
        "ifvit/small", "flowchroma/flow", "flowchroma/pretrained", "flowchroma/scratch", "flowchroma/paper",
        "flowchroma/small",
    }  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_can_be_explained_as_it_is_without_data_or_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    told = explain(read_plan_document(name))

    assert told["stages"]
    for stage in told["stages"]:
        states = [part["state"] for part in stage["parts"].values()]
        assert "trained" in states
        origins = {name: part["origin"] for name, part in stage["parts"].items() if part["state"] != "unused"}
        assert all(origins.values()), origins


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_runs_one_batch_through_every_stage(name, place, monkeypatch):
    monkeypatch.chdir(place)
    document = override(read_plan_document(name), changes(name))

    assert explain(document)["unusable"] == []
    result = run(document, once=True)

    assert list(result.stages) == [stage["name"] for stage in document.tree["stages"]]
    for record in result.stages.values():
        assert record["steps"] == 1
        assert record["trained_arrays_moved"] > 0
    assert [path.name for path in place.glob("runs/*")] == ["ifvit-1"]


def test_the_command_line_runs_a_recipe_in_the_same_way(place, monkeypatch):
    monkeypatch.chdir(place)
    name = "maefuse/train_decoder_CFM_MFM"

    told = worked("run", name, *sets(*changes(name)), "--once", "--json").json

    assert told["folder"] is None
    assert list(told["stages"]) == ["train_decoder_CFM_MFM"]
