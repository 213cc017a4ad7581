"""`gradatim evaluate` of a matcher: figures by the protocol of the FVC competitions, and scores that `match` needs."""

import csv
import json
import shutil

import pytest

from commandline import gradatim, worked
from gradatim.data.image import image_size
from gradatim.systems.ifvit.verification import equal_error, rates

RUN = "matcher"
PRINTS = ("--set", "data.root=prints", "--set", "data.layout=fvc2002", "--split", "all")


@pytest.fixture
def run(place, tmp_path):
    """A run of its own, since evaluating leaves its scores in it."""
    shutil.copytree(place / RUN, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_is_judged_on_fingers_that_it_held_out(run):
    told = worked("evaluate", run, "--json").json

    assert (told["genuine"], told["imposter"]) == (2, 1)
    assert (told["probes"], told["gallery"]) == (2, 2)
    assert 0 <= told["rank_one"] <= 1
    assert {name for name in told if name.startswith("tar@")} == {"tar@far=0.01", "tar@far=0.001", "tar@far=0.0001"}
    assert told["written"] == [str(run / "verification.json")]


def test_after_evaluating_match_decides(run):
    prints = ("prints/Dbs/Db1_a/1_1.tif", "prints/Dbs/Db1_a/1_2.tif")
    assert worked("match", run, *prints, "--json").json["decision"] is None

    worked("evaluate", run)

    kept = json.loads((run / "verification.json").read_text())
    assert (len(kept["genuine"]), len(kept["imposter"])) == (2, 1)
    told = worked("match", run, *prints, "--json").json
    assert told["decision"] == ("match" if told["score"] >= told["threshold"] else "no match")
    assert (
        min(kept["genuine"] + kept["imposter"]) <= worked("match", run, *prints, "--far", 1, "--json").json["threshold"]
    )


def test_scores_are_the_pairs_own_and_figures_follow_from_them(run, tmp_path):
    told = worked("evaluate", run, *PRINTS, "-o", tmp_path / "out", "--json").json

    with (tmp_path / "out" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = {kind: [float(row["score"]) for row in rows if row["genuine"] == kind] for kind in "01"}
    assert (len(kinds["1"]), len(kinds["0"])) == (3, 3)
    assert told["eer"] == pytest.approx(equal_error(rates(kinds["1"], kinds["0"])).rate)
    for row in rows:
        assert float(row["score"]) == pytest.approx(0.6 * float(row["whole"]) + 0.4 * float(row["region"]), abs=2e-6)
    names = {row["first"] for row in rows} | {row["second"] for row in rows}
    assert names == {f"db1_00{finger}/{print_}" for finger in (1, 2, 3) for print_ in (1, 2)}
    figures = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert figures == {name: value for name, value in told.items() if name != "written"}
    assert all(image_size(tmp_path / "out" / name)[0] > 0 for name in ("det.png", "scores.png"))


def test_scores_of_other_data_are_not_kept_as_the_runs_own(run):
    worked("evaluate", run, *PRINTS)
    assert not (run / "verification.json").exists()


def test_fewer_pairs_are_spread_over_both_kinds(run):
    told = worked("evaluate", run, *PRINTS, "--limit", 4, "--json").json
    assert (told["genuine"], told["imposter"]) == (2, 2)


def test_a_file_is_judged_on_data_that_are_named(place):
    file = "matcher/model.safetensors"
    assert worked("evaluate", file, *PRINTS, "--json").json["genuine"] == 3
    answer = gradatim("evaluate", file)
    assert answer.code == 1
    assert "--set data.root=PRINTS --set data.layout=fvc2002" in answer.err


def test_figures_are_a_table(run):
    out = worked("evaluate", run).out
    for words in ("EER", "TAR at FAR 1.00%", "d'", "rank-1 of 2 probes, gallery of 2", "2 genuine pairs, 1 imposters"):
        assert words in out
    assert "verification.json" in out.replace("\n", "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--original",), "--original is for multigriddet"),
        (("--data", "prints"), "--data is for maefuse"),
        (("--batch-size", 2), "--batch-size is for bombkd, multigriddet"),
    ],
)
def test_options_of_other_systems_are_refused(words, says, place):
    answer = gradatim("evaluate", RUN, *words)
    assert answer.code == 2
    assert says in " ".join(answer.err.replace("│", " ").split())


def test_a_model_that_was_trained_to_register_alone_is_refused(place):
    answer = gradatim("evaluate", "matcher/01-dense/weights.safetensors", *PRINTS)
    assert answer.code == 1
    assert "no part 'embedding'" in answer.err


def test_damaged_scores_are_told_with_the_remedy(run):
    (run / "verification.json").write_text("{}")
    answer = gradatim("match", run, "prints/Dbs/Db1_a/1_1.tif", "prints/Dbs/Db1_a/1_2.tif")
    assert answer.code == 1
    assert "verification.json: damaged" in answer.err
    assert "`gradatim evaluate` measures the scores again" in answer.err
