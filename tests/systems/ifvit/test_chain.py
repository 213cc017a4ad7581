"""The chain LoFTR, dense registration, matcher: each arrow is a transfer, to the bit and with an account."""

import json

import pytest
import torch

from commandline import worked
from gradatim import find_system, run
from gradatim.engine.checked import checked_plan
from gradatim.engine.sources import Builder, load_sources
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.runs.progress import SnapshotWriter
from gradatim.systems.ifvit.steps import see
from gradatim.weights import header_of, part_digest, read_weights
from systems.ifvit.foreign import loftr_file
from tiny_ifvit import MODEL, STAGES, chain, loftr, model, parts, quick

TASKS = find_system("ifvit").read_tasks


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """LoFTR's file, and two runs: both stages in one plan, and each in a plan of its own; not to be changed."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        loftr(folder / "outdoor_ds.ckpt", layers=3)
        chain(folder / "whole", name="paper")
        run(override(read_plan_document("ifvit/dense"), [model(), *quick("dense")]), folder / "runs" / "ifvit-1")
        run(override(read_plan_document("ifvit/matcher"), [model(), *quick("matcher")]), folder / "runs" / "ifvit-2")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    return place


def arrays(file, part="transformer"):
    """Arrays of a part in a file of ours."""
    found = read_weights(file).arrays
    return {name.removeprefix(f"{part}."): array for name, array in found.items() if name.startswith(f"{part}.")}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def lineage_of(run_folder, part="transformer"):
    return header_of(read_weights(run_folder / "model.safetensors"))["lineage"][part]


@pytest.mark.parametrize("name", ["paper", "small"])
def test_each_stage_gets_the_sizes_of_its_own_pictures(name):
    document = override(read_plan_document(f"ifvit/{name}"), ["model.dense_size=96", "model.match_size=160"])

    plan, system, _ = checked_plan(document)

    settings = system.settings.model_validate(dict(plan.model))
    dense, matcher = (system.data.settings.model_validate(dict(stage.data)) for stage in plan.stages)
    assert (dense.size, matcher.size) == (96, 160)
    assert (matcher.roi, matcher.enhance) == (settings.roi_size, settings.enhance)


# -- each arrow -----------------------------------------------------------------------------------------------


def test_dense_registration_starts_from_loftrs_arrays(here):
    plan, system, _ = checked_plan(override(read_plan_document("ifvit/dense"), [model(), *quick("dense")]))
    builder = Builder(system=system, settings=system.settings.model_validate(dict(plan.model)), seed=plan.seed)

    loaded = load_sources(plan.stages[0], builder, ["transformer"])["transformer"]

    theirs = loftr_file(layers=3, width=MODEL["width"])
    assert torch.equal(loaded.module.layers[1].query.weight, theirs["matcher.loftr_coarse.layers.1.q_proj.weight"])
    assert loaded.account.arrays == (20, 20)
    assert lineage_of(here / "whole")["origin"]["digest"] == part_digest(loaded.module)


def test_the_matcher_starts_from_every_array_that_dense_registration_ended_with(here):
    plan, system, _ = checked_plan(override(read_plan_document("ifvit/matcher"), [model(), *quick("matcher")]))
    builder = Builder(system=system, settings=system.settings.model_validate(dict(plan.model)), seed=plan.seed)

    loaded = load_sources(plan.stages[0], builder, ["transformer"])["transformer"]

    assert same(loaded.module.state_dict(), arrays("runs/ifvit-1/01-dense/weights.safetensors"))
    assert loaded.account.arrays == (20, 20)
    assert loaded.lineage.digest == lineage_of(here / "runs/ifvit-1")["digest"]
    matcher = lineage_of(here / "runs/ifvit-2")
    assert matcher["origin"]["digest"] == matcher["before"]["passages"][-1]["digest"] == loaded.lineage.digest
    assert matcher["digest"] != loaded.lineage.digest


def test_in_one_plan_a_transformer_that_is_held_still_is_that_of_the_dense_stage_to_the_bit(here, tmp_path):
    chain(tmp_path / "run", "stages.matcher.train=[backbone, embedding, centers]", name="paper")

    ended = arrays(tmp_path / "run" / "01-dense" / "weights.safetensors")
    assert same(arrays(tmp_path / "run" / "model.safetensors"), ended)
    record = json.loads((tmp_path / "run" / "02-matcher" / "stage.json").read_text())
    assert (record["states"]["transformer"], record["frozen_arrays_equal"]) == ("passes gradient", 20)


def test_of_dense_registration_the_transformer_alone_goes_on(here):
    origins = {
        part: lineage_of(here / "whole", part)["origin"]["kind"] for part in ("backbone", "embedding", "centers")
    }
    assert set(origins.values()) == {"fresh"}
    stages = [passage["stage"] for passage in lineage_of(here / "whole", "backbone")["passages"]]
    assert stages == ["matcher"]
    assert not same(
        arrays("whole/01-dense/weights.safetensors", "backbone"), arrays("whole/model.safetensors", "backbone")
    )


@pytest.mark.parametrize("folder", ["whole", "runs/ifvit-2"])
def test_the_lineage_tells_every_arrow_with_digests(folder, here):
    told = worked("lineage", f"{folder}/model.safetensors").out

    part = told[told.index("transformer") :].split("embedding")[0]
    places = [part.index(words) for words in ("outdoor_ds.ckpt", "layout loftr", "stage dense", "stage matcher")]
    assert places == sorted(places)
    assert "loaded 20 of 20 arrays" in part
    digests = [lineage_of(here / folder)["digest"]]
    digests.append(part_digest(parts_from(here / folder)) if folder == "whole" else digests[0])
    assert all(digest in part for digest in digests)


def parts_from(folder):
    """The transformer as the dense stage of a run ended with it."""
    module = parts("transformer")["transformer"]
    module.load_state_dict(arrays(folder / "01-dense" / "weights.safetensors"))
    return module


# -- one transformer, or two ------------------------------------------------------------------------------------


def sample(count=2):
    torch.manual_seed(1)
    images = {name: torch.rand(count, 1, 64, 64) for name in ("image1", "image2")}
    return images | {name: torch.rand(count, 1, 32, 32) for name in ("roi1", "roi2")}


def gradient(task, wanted):
    """Parts that a value's gradient reaches."""
    built = parts()
    for part in built.values():
        part.train()
    TASKS[task].compute(built, sample(), want=[wanted])[wanted].pow(3).sum().backward()
    return {name for name, part in built.items() if any(p.grad is not None and p.grad.any() for p in part.parameters())}


@pytest.mark.parametrize("wanted", ["embedding1", "embedding2", "roi_embedding1", "roi_embedding2"])
def test_one_transformer_learns_from_prints_and_from_regions(wanted):
    assert gradient("match", wanted) == {"backbone", "transformer", "embedding"}


def test_two_transformers_learn_from_one_each():
    assert gradient("match_apart", "embedding1") == {"backbone", "transformer", "embedding"}
    assert gradient("match_apart", "roi_embedding1") == {"backbone", "local_transformer", "embedding"}


def test_one_transformer_is_one_part_of_the_file(here):
    names = read_weights("whole/model.safetensors").arrays
    assert {name.partition(".")[0] for name in names} == {"backbone", "transformer", "embedding", "centers"}


def test_two_transformers_begin_equal_and_end_apart(here, tmp_path):
    own = "stages.matcher.init.local_transformer={run: runs/ifvit-1, stage: dense, part: transformer}"
    changes = [
        "stages.matcher.task=match_apart", own, "allow=[two-transformers]",
        "stages.matcher.train=[backbone, transformer, local_transformer, embedding, centers]",
    ]  # fmt: skip
    run(override(read_plan_document("ifvit/matcher"), [model(), *quick("matcher"), *changes]), tmp_path / "run")

    whole, local = (lineage_of(tmp_path / "run", part) for part in ("transformer", "local_transformer"))
    assert whole["origin"]["digest"] == local["origin"]["digest"] == lineage_of(here / "runs/ifvit-1")["digest"]
    file = tmp_path / "run" / "model.safetensors"
    assert not same(arrays(file), arrays(file, "local_transformer"))


# -- what learns ---------------------------------------------------------------------------------------------------


def test_centers_learn(here):
    (file,) = here.glob("whole/02-*/weights.safetensors")
    begun = lineage_of(here / "whole", "centers")
    assert begun["origin"]["digest"] != begun["digest"]
    assert json.loads((file.parent / "stage.json").read_text())["drift"]["centers"] > 0


def test_statistics_take_in_the_first_image_and_then_the_second():
    images = sample()
    first, second = images["image1"], images["image2"]
    found = {}
    for order in ((first, second), (second, first)):
        backbone = parts("backbone")["backbone"].train()
        see(backbone, *order)
        found[order[0] is first] = backbone.state_dict()
    backbone = parts("backbone")["backbone"].train()
    backbone(first)
    backbone(second)

    assert same(backbone.state_dict(), found[True])
    assert not same(backbone.state_dict(), found[False])


class KilledError(Exception):
    """The blow."""


@pytest.mark.parametrize("steps", [4, 8])
def test_a_run_that_is_stopped_in_either_stage_goes_on_to_the_same_bits(steps, here, tmp_path, monkeypatch):
    """The dense stage has six steps, the matcher four."""
    monkeypatch.setattr("gradatim.engine.stage.SnapshotWriter", lambda *place: SnapshotWriter(*place, seconds=0))
    lengths = [f"stages.{stage}.{change}" for stage in STAGES for change in ("epochs=2", "snapshot_every=1")]
    document = override(read_plan_document("ifvit/paper"), [model(), *quick(), *lengths])
    events, done = [], []
    run(document, tmp_path / "whole" / "run")

    def blow(*_):
        done.append(1)
        if len(done) == steps:
            raise KilledError

    with pytest.raises(KilledError):
        run(document, tmp_path / "cut" / "run", tick=blow)
    run(document, tmp_path / "cut" / "run", observe=events.append)

    assert [event["stage"] for event in events if event["event"] == "resumed"] == [STAGES[steps > 6]]
    whole, cut = (read_weights(tmp_path / name / "run" / "model.safetensors").arrays for name in ("whole", "cut"))
    assert len(whole) == 98
    assert same(whole, cut)
