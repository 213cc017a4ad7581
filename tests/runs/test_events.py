"""The event log: appended line by line, read so that each step counts once."""

import json

import pytest

from gradatim.runs import EventLog, read_events


def written(path, *events):
    log = EventLog(path)
    for event in events:
        log.write(event)
    log.close()


def step(number, stage="a", **more):
    return {"event": "step", "stage": stage, "step": number, **more}


def without_time(events):
    return [{key: value for key, value in event.items() if key != "time"} for event in events]


def test_events_read_back_in_order(tmp_path):
    events = [{"event": "run", "state": "started"}, step(1, losses={"mse": 0.5}), step(2)]
    written(tmp_path / "run" / "events.jsonl", *events)

    assert without_time(read_events(tmp_path / "run" / "events.jsonl")) == events


def test_a_log_that_is_opened_again_goes_on(tmp_path):
    written(tmp_path / "e", step(1))
    written(tmp_path / "e", step(2))

    assert [event["step"] for event in read_events(tmp_path / "e")] == [1, 2]


def test_no_file_has_no_events(tmp_path):
    assert read_events(tmp_path / "none") == []


def test_what_a_resumed_stage_runs_again_counts_once(tmp_path):
    written(
        tmp_path / "e",
        {"event": "stage", "stage": "a", "step": 0, "state": "started"},
        step(2),
        step(4, first=True),
        {"event": "validation", "stage": "a", "step": 5, "value": 1},
        {"event": "stage", "stage": "a", "step": 3, "state": "started"},
        {"event": "resumed", "stage": "a", "step": 3},
        step(4, first=False),
    )

    events = read_events(tmp_path / "e")

    assert [(event["event"], event["step"]) for event in events] == [
        ("stage", 0), ("step", 2), ("stage", 3), ("resumed", 3), ("step", 4),
    ]  # fmt: skip
    assert not events[-1]["first"]


def test_a_resumed_stage_drops_nothing_of_another(tmp_path):
    written(tmp_path / "e", step(9, "b"), step(9, "a"), {"event": "resumed", "stage": "a", "step": 3})

    assert [event["stage"] for event in read_events(tmp_path / "e")] == ["b", "a"]


def test_a_stage_resumed_twice_keeps_what_the_last_run_says(tmp_path):
    resumed = {"event": "resumed", "stage": "a", "step": 2}
    written(tmp_path / "e", step(3, run=1), resumed, step(3, run=2), resumed, step(3, run=3))

    assert [event["run"] for event in read_events(tmp_path / "e") if event["event"] == "step"] == [3]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_last_line_that_is_half_written_is_left_out_and_the_next_stands_alone(tmp_path, cut):
    written(tmp_path / "e", step(1), step(2))
    content = (tmp_path / "e").read_bytes()
    (tmp_path / "e").write_bytes(content[:-cut])

    assert [event["step"] for event in read_events(tmp_path / "e")] == ([1, 2] if cut == 1 else [1])
    written(tmp_path / "e", step(3))
    assert [event["step"] for event in read_events(tmp_path / "e")] == ([1, 2, 3] if cut == 1 else [1, 3])


def test_a_line_that_ends_inside_a_letter_is_left_out(tmp_path):
    written(tmp_path / "e", step(1))
    with (tmp_path / "e").open("ab") as file:
        file.write('{"event": "step", "what": "é'.encode()[:-1])

    assert [event["step"] for event in read_events(tmp_path / "e")] == [1]


def test_values_that_are_not_finite_become_text(tmp_path):
    written(tmp_path / "e", step(1, losses={"mse": float("nan")}, values=[float("inf"), 1.0]))

    line = (tmp_path / "e").read_text()
    assert json.loads(line, parse_constant=pytest.fail)["losses"] == {"mse": "nan"}
    assert json.loads(line)["values"] == ["inf", 1.0]


def test_each_event_is_on_disk_before_the_next(tmp_path):
    log = EventLog(tmp_path / "e")
    log.write(step(1))

    assert len(read_events(tmp_path / "e")) == 1
    log.close()
