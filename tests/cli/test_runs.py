"""Runs from the command line: begun, stopped, gone on with, told of."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from commandline import gradatim, worked
from tiny import DEMO, STAGES, sets


@pytest.fixture
def own(prepared, tmp_path, monkeypatch):
    """A folder of one's own with the scenes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "pairs").symlink_to(prepared / "pairs")
    return tmp_path


def test_a_run_says_where_all_is_and_numbers_its_folder(own):
    first = worked("run", "maefuse/demo", *sets(*DEMO), "-q")
    second = worked("run", "maefuse/demo", *sets(*DEMO, "stages.joint.lr=1e-5"), "--json").json

    assert "runs/maefuse-1/model.safetensors" in first.out
    assert not first.err
    assert second["folder"] == "runs/maefuse-2"
    assert list(second["stages"]) == list(STAGES)
    assert (own / "runs/maefuse-1/report.html").is_file()
    same = [own / f"runs/maefuse-{n}/01-pretrain/weights.safetensors" for n in (1, 2)]
    assert same[0].samefile(same[1])


def test_some_stages_then_the_rest_from_another_folder(own, tmp_path_factory, monkeypatch):
    worked("run", "maefuse/demo", *sets(*DEMO), "--stages", "pretrain,pixels", "--out", "runs/x", "-q")
    status = worked("status", "runs/x", "--json").json
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    monkeypatch.chdir(elsewhere)
    answer = gradatim("run", own / "runs/x")

    assert [stage["state"] for stage in status["stages"]] == ["finished"] * 2 + ["to do"] * 4
    assert status["state"] == "partly finished"
    assert answer.code == 0, answer.err
    assert answer.err.count("taken over") == 2
    assert str(own / "runs/x/model.safetensors") in answer.out
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("words", [["--set", "seed=1"], ["--allow", "idle-cfm"], ["--out", "x"]], ids=" ".join)
def test_a_run_goes_on_as_it_began_or_not_at_all(words, place):
    answer = gradatim("run", "runs/maefuse-1", *words)

    assert answer.code == 1
    assert "goes on as it began" in answer.err
    assert "gradatim run runs/maefuse-1/plan.yaml --set" in answer.err


def test_a_changed_plan_of_a_run_begins_another_one_that_takes_over_what_is_equal(own, prepared):
    shutil.copytree(prepared / "runs", own / "runs")

    answer = worked("run", "runs/maefuse-1/plan.yaml", "--set", "stages.joint.lr=1e-5")

    assert answer.err.count("taken over") == 5
    assert "runs/maefuse-2" in answer.out


def test_once_leaves_nothing(own):
    before = sorted(own.rglob("*"))

    worked("run", "maefuse/demo", *sets(*DEMO), "--once")

    assert sorted(own.rglob("*")) == before


def test_the_status_of_a_finished_run(place):
    told = worked("status", "runs/maefuse-1").out

    assert all(stage in told for stage in STAGES)
    assert told.count("finished") == 1 + len(STAGES)


def test_a_guard_that_fires_is_told_on_the_terminal_in_the_status_and_in_the_report(own):
    changes = (*DEMO, "stages.decoder.guards={drift: {decoder: 1e-9}}")

    answer = gradatim("run", "maefuse/demo", *sets(*changes))

    assert answer.code == 1
    assert "! guard drift: part 'decoder' has drifted" in answer.err
    assert "lower `lr`, train fewer parts first, or change `guards.drift`" in answer.err.replace("\n", " ")
    status = worked("status", "runs/maefuse-1", "--json").json
    assert status["state"] == "stopped"
    assert "has drifted" in status["stages"][2]["guards"]
    assert "has drifted" in worked("status", "runs/maefuse-1").out
    assert "has drifted" in Path(worked("report", "runs/maefuse-1").out.strip()).read_text()


def test_explain_says_what_is_finished_and_why_a_stage_is_stale(place):
    same = worked("plan", "runs/maefuse-1", "--explain", "--json").json["explain"]
    other = worked("plan", "maefuse/demo", *sets(*DEMO, "stages.cfm-mean.lr=0.5"), "--explain", "--json").json[
        "explain"
    ]
    bare = worked("plan", "maefuse/demo", *sets(*DEMO), "--explain", "--runs", "pairs").out

    assert [state for _, state, _ in same] == ["finished"] * 6
    assert [state for _, state, _ in other] == ["finished"] * 3 + ["stale"] * 3
    assert other[3][2] == "changed: settings"
    assert other[4][2] == "stage cfm-mean is stale"
    assert bare.count("no run has finished it") == 6


def test_the_plan_shows_states_origins_and_what_is_not_usable_yet(place):
    told = worked("plan", "maefuse/train_CFM_fusion", *sets("model.attention_axis=batch")).out
    missing = worked("plan", "maefuse/paper", "--set", "sources.mae.checkpoint=gone.pth")

    assert "passes gradient" in told
    assert "checkpoint fusion.pth" in told
    assert "not usable yet" in missing.err
    assert "gone.pth: no such file" in missing.err


class Page(HTMLParser):
    """What a page refers to and holds."""

    def __init__(self):
        super().__init__()
        self.outside, self.tags, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        for name, value in attributes:
            inside = value is not None and value.startswith(("#", "data:"))
            if name in ("src", "href", "action", "data", "poster", "srcset", "xlink:href") and not inside:
                self.outside.append((tag, name, value))

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_one_file_with_everything_in_it(place, tmp_path):
    out = tmp_path / "report.html"

    answer = worked("report", "runs/maefuse-1", "--out", out)

    text = out.read_text()
    page = Page()
    page.feed(text)
    assert answer.out.strip() == str(out)
    assert page.outside == []
    assert not re.search(r"https?://|//cdn|@import|url\(", text)
    assert page.tags.count("h2") == len(STAGES) + 2
    assert page.tags.count("svg") >= 4 * len(STAGES)
    assert page.tags.count("img") == text.count("data:image/png;base64,") >= 9
    assert "script" not in page.tags
    words = " ".join(page.text)
    for part, one in json.loads(worked("lineage", "runs/maefuse-1", "--json").out).items():
        assert part in words
        assert one["digest"] in words
    assert "frozen arrays equal to the bit" in words
    assert "qabf" in words


def test_the_report_escapes_what_stands_in_a_plan(own, prepared):
    shutil.copytree(prepared / "runs", own / "runs")
    plan = own / "runs/maefuse-1/plan.yaml"
    plan.write_text(plan.read_text() + "# <script>alert(1)</script>\n")

    worked("report", "runs/maefuse-1")

    assert "<script>" not in (own / "runs/maefuse-1/report.html").read_text()
