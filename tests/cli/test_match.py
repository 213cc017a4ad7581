"""`gradatim match` and `gradatim align`: two prints or one among many, and what is said where nothing can be."""

import json
import shutil

import numpy as np
import pytest

from commandline import gradatim, worked
from gradatim.cli.matching import CALIBRATION
from gradatim.data.image import image_size, write_image
from gradatim.systems.ifvit.alignment_file import read_alignments
from gradatim.systems.ifvit.data import FingerprintSettings, open_data
from systems.ifvit.foreign import dump, matcher_file, tree_of
from tiny_ifvit import MODEL, held_out, prints

FOLDER = "prints/Dbs/Db1_a"
ONE, AGAIN, OTHER = (f"{FOLDER}/{name}.tif" for name in ("1_1", "1_2", "2_1"))
RUN = "matcher"


@pytest.fixture
def judged(place, tmp_path):
    """A run whose validation prints were scored: genuine pairs 0.9 and 0.99, imposters 0.5 and 0.98."""
    run = tmp_path / "run"
    shutil.copytree(place / RUN, run)
    (run / CALIBRATION).write_text(json.dumps({"genuine": [0.9, 0.99], "imposter": [0.5, 0.98]}))
    return run


@pytest.fixture
def gallery(tmp_path):
    """Three prints at two depths, a blank page, and a file that is no picture."""
    root = tmp_path / "gallery"
    (root / "below").mkdir(parents=True)
    for name, path in (("a.tif", ONE), ("b.tif", OTHER), ("below/c.tif", f"{FOLDER}/3_1.tif")):
        shutil.copy(path, root / name)
    write_image(root / "blank.png", np.full((64, 64), 200, np.uint8))
    (root / "broken.png").write_bytes(b"no picture")
    (root / "notes.txt").write_text("no picture either")
    return root


def limited(score):
    """Words that make everything from a score on a match."""
    return "--threshold", score


# -- two prints ------------------------------------------------------------------------------------------


def test_two_prints_are_scored_and_without_a_measure_nothing_is_decided(place):
    answer = worked("match", RUN, ONE, AGAIN)

    assert "score 0." in answer.out
    assert "match" not in answer.out.partition("\n")[0]
    assert "no decision: `gradatim evaluate RUN` measures what a score is worth, or say --threshold" in answer.err


def test_all_that_is_found_stands_in_json(place):
    told = worked("match", RUN, ONE, AGAIN, "--json").json

    assert set(told) == {
        "score", "whole", "region", "decision", "threshold", "turn", "inliers", "matches", "overlap",
        "correspondences", "picture",
    }  # fmt: skip
    assert told["score"] == pytest.approx(0.6 * told["whole"] + 0.4 * told["region"], abs=1e-6)
    assert (told["decision"], told["threshold"], told["picture"]) == (None, None, None)
    assert 0 <= told["overlap"] <= 1
    assert told["inliers"] <= told["matches"]


def test_a_threshold_decides(place):
    score = worked("match", RUN, ONE, AGAIN, "--json").json["score"]

    told = [worked("match", RUN, ONE, AGAIN, *limited(limit), "--json").json for limit in (score - 1e-6, score + 1e-6)]

    assert [one["decision"] for one in told] == ["match", "no match"]
    assert worked("match", RUN, ONE, AGAIN, *limited(-1)).out.startswith("match: score")
    assert worked("match", RUN, ONE, AGAIN, *limited(1)).out.startswith("no match: score")


@pytest.mark.parametrize(("words", "threshold"), [((), 0.9), (("--far", 0.5), 0.9), (("--far", 1), 0.5)])
def test_a_runs_own_validation_prints_tell_the_threshold(words, threshold, judged):
    assert worked("match", judged, ONE, AGAIN, *words, "--json").json["threshold"] == threshold


def test_a_rate_below_what_the_imposters_can_tell_is_refused(judged):
    answer = gradatim("match", judged, ONE, AGAIN, "--far", 0.1)
    assert answer.code == 1
    assert "--far 0.1: 2 imposters were compared, which tell no rate below 0.5" in answer.err


def test_why_is_drawn(place, tmp_path):
    told = worked("match", RUN, ONE, AGAIN, "-o", tmp_path / "why.png", "--json").json

    assert told["picture"] == str(tmp_path / "why.png")
    height, width = image_size(tmp_path / "why.png")
    assert width > 1.5 * height


def test_turns_are_searched_as_far_as_is_said(place):
    found = {turn: worked("match", RUN, ONE, AGAIN, "--turn", turn, "--json").json["turn"] for turn in (0, 20)}
    assert abs(found[0] or 0) <= 5
    assert abs(found[20] or 0) <= 25


def test_prints_that_are_aligned_are_compared_as_they_lie(place):
    told = worked("match", RUN, ONE, ONE, "--no-alignment", "--json").json

    assert (told["turn"], told["inliers"], told["overlap"]) == (None, 0, 1)
    assert "compared as they lie\n" in worked("match", RUN, ONE, AGAIN, "--no-alignment").out


@pytest.mark.parametrize("target", ["matcher/model.safetensors", "matcher/02-matcher/weights.safetensors"])
def test_a_file_of_ours_matches_as_its_run_does_but_for_who_registers(target, place):
    own = worked("match", target, ONE, AGAIN, "--dense", "matcher/01-dense/weights.safetensors", "--json").json
    assert own == worked("match", RUN, ONE, AGAIN, "--json").json


def test_a_matcher_of_ifvits_code_is_read_as_it_is(place, tmp_path, monkeypatch):
    arrays = matcher_file(tied=True, width=MODEL["width"])
    dump(tmp_path / "matcher_ckpt.pkl", monkeypatch, lambda *_: {"state": tree_of(arrays)})

    answer = gradatim("match", tmp_path / "matcher_ckpt.pkl", ONE, AGAIN, "--model", "heads=2")

    # The file of this test has no backbone, which is said; it was recognized without a word about its system.
    assert answer.code == 1
    assert "has no part 'backbone'" in answer.err


# -- what is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ([RUN, ONE], 2, "name two prints, or --gallery with prints to look for; found 1"),
        ([RUN, ONE, AGAIN, OTHER], 2, "found 3"),
        ([RUN, ONE, AGAIN, "--far", 0.1, "--threshold", 0.5], 2, "--threshold and --far both say where matches begin"),
        ([RUN, ONE, AGAIN, "--far", 0.1], 2, "first: gradatim evaluate matcher"),
        ([RUN, ONE, AGAIN, "--far", 2], 2, "--far"),
        ([RUN, ONE, AGAIN, "-o", "why"], 2, "--out why: name a picture, such as why.png"),
        ([RUN, ONE, "gone.tif"], 1, "gone.tif"),
        ([RUN, ONE, "matcher/plan.yaml"], 1, "plan.yaml"),
        (["detector", ONE, AGAIN], 1, "is a model of multigriddet, not of ifvit"),
        (["matcher/01-dense/weights.safetensors", ONE, AGAIN], 1, "carry on with task `match`"),
        ([RUN, ONE, AGAIN, "--dense", "detector"], 1, "is a model of multigriddet, not of ifvit"),
        ([RUN, ONE, "--gallery", "gone"], 1, "gone: no folder"),
        ([RUN, ONE, "--gallery", "matcher"], 1, "matcher: holds no pictures"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_what_is_wrong_is_one_message(words, code, says, place):
    answer = gradatim("match", *words)

    assert answer.code == code
    assert says in " ".join(answer.err.replace("│", " ").split())
    assert "Traceback" not in answer.err
    assert not answer.out


def test_a_print_without_ridges_is_named(place, tmp_path):
    write_image(tmp_path / "blank.png", np.full((64, 64), 128, np.uint8))
    answer = gradatim("match", RUN, ONE, tmp_path / "blank.png")
    assert (answer.code, answer.err) == (1, "error: blank.png: shows no ridges\n")


# -- galleries ------------------------------------------------------------------------------------------


def test_a_gallery_is_ranked_and_what_cannot_be_read_is_named(place, gallery, tmp_path):
    answer = worked("match", RUN, ONE, AGAIN, "--gallery", gallery, "--top", 2, "-o", tmp_path / "why", "--json")

    found = answer.json
    assert set(found["probes"]) == {ONE, AGAIN}
    assert [len(ranked) for ranked in found["probes"].values()] == [2, 2]
    assert max(found["probes"][ONE], key=lambda one: one["template"])["print"] == "a.tif"
    assert max(one["template"] for one in found["probes"][ONE]) == pytest.approx(1, abs=1e-5)
    assert {path.removeprefix(f"{gallery}/"): what for path, what in found["unreadable"].items()}.keys() == {
        "blank.png", "broken.png",
    }  # fmt: skip
    assert image_size(tmp_path / "why" / "1_1.png")[1] > 0
    assert {path.name for path in (tmp_path / "why").iterdir()} == {"1_1.png", "1_2.png"}


def test_a_ranking_is_a_table_with_verdicts(place, gallery):
    answer = worked("match", RUN, ONE, "--gallery", gallery, "--threshold", -1)

    assert "below/c.tif" in answer.out
    assert answer.out.count("match") >= 3
    assert "left out: " in answer.err
    assert "blank.png: shows no ridges" in answer.err


def test_a_gallery_without_prints_is_refused(place, tmp_path):
    (tmp_path / "empty").mkdir()
    write_image(tmp_path / "empty" / "blank.png", np.full((64, 64), 200, np.uint8))
    answer = gradatim("match", RUN, ONE, "--gallery", tmp_path / "empty")
    assert answer.code != 0
    assert "holds no print that can be read" in " ".join(answer.err.replace("│", " ").split())


# -- align ------------------------------------------------------------------------------------------


def test_pairs_of_a_data_set_are_registered_and_read_back_for_the_matcher(place, tmp_path):
    own = ["--set", "data.root=prints", "--set", "data.layout=fvc2002", "-o", tmp_path / "motions.json"]

    told = worked("align", RUN, *own, "--json").json

    found = read_alignments(tmp_path / "motions.json", MODEL["dense_size"])
    assert told["genuine"] == 3
    assert 1 <= told["imposters"] <= 3
    assert told["aligned"] == len(found) <= told["pairs"] == told["genuine"] + told["imposters"]
    assert all(matrix.shape == (3, 3) for matrix in found.values())


def test_prints_that_a_data_set_holds_out_are_registered_too_and_never_with_those_of_training(place, tmp_path):
    root = held_out(prints(tmp_path / "prints", fingers=5, size=64), "45")
    data = {"root": root, "layout": "fvc2002", "alignments": tmp_path / "motions.json"}

    own = ["--set", f"data.root={root}", "--set", "data.layout=fvc2002", "-o", data["alignments"]]
    worked("align", RUN, *own)

    pairs = read_alignments(data["alignments"], 64)
    held = {name: ("db1_004" in name) or ("db1_005" in name) for pair in pairs for name in pair}
    assert all(held[first] == held[second] for first, second in pairs)
    settings = FingerprintSettings(samples="matcher", size=64, roi=32, **data)
    assert [len(open_data(settings, split)) > 0 for split in ("train", "validate")] == [True, True]
