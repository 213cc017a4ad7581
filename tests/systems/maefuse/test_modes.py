"""The original's nine training modes and the paper's order of stages, run for two steps at toy sizes."""

import pytest
import torch

from gradatim.engine.explain import explain
from gradatim.engine.run import run
from gradatim.runs import Lineage
from gradatim.systems.maefuse.recipes import MODES
from gradatim.weights import file_digest, header_of, part_digest, parts_of, read_weights
from systems.maefuse.small import parts, small_plan, write_files

T, F, G, U = "trained", "no gradient", "passes gradient", "unused"

STATES = {
    "train_CFM_mean": {"cfm": T, "mfm": U, "decoder": U},
    "train_CFM_fusion": {"cfm": T, "mfm": U, "decoder": G},
    "train_MFM_mean_CFM_lock": {"cfm": F, "mfm": T, "decoder": U},
    "train_MFM_fusion_CFM_lock": {"cfm": F, "mfm": T, "decoder": G},
    "train_MFM_mean_CFM_open": {"cfm": T, "mfm": T, "decoder": U},
    "train_MFM_fusion_CFM_open": {"cfm": T, "mfm": T, "decoder": G},
    "train_decoder_only": {"cfm": U, "mfm": U, "decoder": T},
    "train_decoder_MFM": {"cfm": F, "mfm": T, "decoder": T},
    "train_decoder_CFM_MFM": {"cfm": T, "mfm": T, "decoder": T},
}
STATES = {mode: {"encoder": F, **states, "mask_token": U} for mode, states in STATES.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("maefuse")


@pytest.fixture(scope="module")
def source():
    return parts()


@pytest.fixture(scope="module")
def files(folder, source):
    return write_files(folder / "files", source)


def test_the_table_names_every_mode():
    assert len(MODES) == 9
    assert STATES.keys() == MODES.keys()


@pytest.mark.parametrize("mode", STATES)
def test_a_mode_trains_what_the_original_trains_and_leaves_the_rest_to_the_bit(folder, source, files, mode):
    plan = small_plan(mode, folder, files)

    told = explain(plan)
    result = run(plan, folder / mode)

    assert result.stages[mode]["states"] == STATES[mode]
    assert {part: one["state"] for part, one in told["stages"][0]["parts"].items()} == STATES[mode]
    assert result.stages[mode]["steps"] == 2
    assert told["unusable"] == []
    weights = read_weights(result.model)
    arrays = parts_of(weights)
    assert set(arrays) == set(MODES[mode].init)
    for part, module in source.items():
        state = STATES[mode][part]
        if part in arrays and state == T:
            moved = [name for name, p in module.named_parameters() if not torch.equal(p, arrays[part][name])]
            assert moved
        if part in arrays:
            kept = module.state_dict() if state != T else dict(module.named_buffers())
            if MODES[mode].init[part] != "fresh":
                assert kept
                assert all(torch.equal(array, arrays[part][name]) for name, array in kept.items())
    check_lineage(weights, files, MODES[mode], mode)


def check_lineage(weights, files, mode, name):
    """Every part names its file with its digest, or says that it is fresh; trained ones name the stage."""
    arrays = parts_of(weights)
    lineages = header_of(weights)["lineage"]
    assert set(lineages) == set(arrays) == set(mode.init)
    for part, kind in mode.init.items():
        lineage = Lineage.from_json(lineages[part])
        if kind == "fresh":
            assert lineage.origin.kind == "fresh"
        else:
            assert lineage.origin.kind == "checkpoint"
            assert lineage.origin.detail["file"] == str(files[kind].resolve())
            assert lineage.origin.detail["file_digest"] == file_digest(files[kind])
        assert [passage.stage for passage in lineage.passages] == ([name] if part in mode.train else [])
        assert lineage.digest == digest_of(arrays[part])


def digest_of(state):
    from gradatim.weights import arrays_digest

    return arrays_digest(state)


def test_a_files_part_is_the_original_part_to_the_bit(folder, source, files):
    """The frozen parts' lineage digests are those of the modules that the files were written from."""
    result = run(small_plan("train_MFM_fusion_CFM_lock", folder, files), folder / "bits")

    lineages = header_of(read_weights(result.model))["lineage"]
    for part in ("encoder", "decoder", "cfm"):
        assert lineages[part]["digest"] == part_digest(source[part])
    assert lineages["mfm"]["origin"]["digest"] == part_digest(source["mfm"])


def test_the_papers_stages_run_from_a_public_file_to_the_whole_model(folder, source, files):
    plan = small_plan("paper", folder, files)

    told = explain(plan)
    result = run(plan, folder / "paper")

    trained = {name: {p for p, s in record["states"].items() if s == T} for name, record in result.stages.items()}
    assert trained == {
        "decoder": {"decoder"},
        "cfm-mean": {"cfm"},
        "cfm-fusion": {"cfm"},
        "mfm-mean": {"mfm"},
        "mfm-fusion": {"mfm"},
        "both-fusion": {"cfm", "mfm"},
        "decoder-mfm": {"decoder", "mfm"},
        "joint": {"decoder", "cfm", "mfm"},
    }
    states = {stage["name"]: {p: one["state"] for p, one in stage["parts"].items()} for stage in told["stages"]}
    assert states == {name: record["states"] for name, record in result.stages.items()}
    weights = read_weights(result.model)
    encoder = parts_of(weights)["encoder"]
    for name, array in source["encoder"].state_dict().items():
        assert torch.equal(encoder[name], array) == (name != "pos_embed"), name
    lineage = header_of(weights)["lineage"]
    assert [passage["stage"] for passage in lineage["decoder"]["passages"]] == ["decoder", "decoder-mfm", "joint"]
    assert lineage["encoder"]["origin"]["detail"]["file_digest"] == file_digest(files["mae"])
    assert "MaeFuse has no class token" in lineage["encoder"]["origin"]["detail"]["account"]


def test_without_the_authors_axis_their_head_is_refused_before_anything_runs(folder, files):
    plan = small_plan("train_MFM_mean_CFM_lock", folder, files, "model.attention_axis=tokens")

    (message,) = explain(plan)["unusable"]

    assert "part 'cfm' was trained with attention_axis 'sample' or 'batch', the plan's model has 'tokens'" in message
