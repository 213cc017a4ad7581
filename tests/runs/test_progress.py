"""Two slots for a running stage: what is damaged, foreign or half written is not used."""

import pytest
import torch

from gradatim.runs import Snapshot, SnapshotWriter, latest_snapshot
from gradatim.runs.progress import SLOTS


def snapshot(step):
    arrays = {"head.weight": torch.full((4, 4), float(step)), "head.weight/exp_avg": torch.ones(4, 4)}
    return Snapshot(step=step, arrays=arrays, counters={"step": step, "best": 0.5})


def keep(folder, *steps, key="k"):
    writer = SnapshotWriter(folder, key, seconds=0)
    for step in steps:
        writer.keep(snapshot(step), True)
    writer.finish()


def step_of(folder, key="k"):
    found = latest_snapshot(folder, key)
    return found and found.step


def test_the_newest_snapshot_is_read_back_to_the_bit(tmp_path):
    keep(tmp_path, 1, 2, 3)

    found = latest_snapshot(tmp_path, "k")
    assert (found.step, found.counters) == (3, {"step": 3, "best": 0.5})
    assert found.arrays.keys() == snapshot(3).arrays.keys()
    assert all(torch.equal(array, snapshot(3).arrays[name]) for name, array in found.arrays.items())


def test_without_a_snapshot_there_is_none(tmp_path):
    assert latest_snapshot(tmp_path / "none", "k") is None


def test_two_slots_take_turns(tmp_path):
    for steps, expected in (((1,), 1), ((1, 2), 2), ((1, 2, 3), 2)):
        folder = tmp_path / str(len(steps))
        keep(folder, *steps)
        assert len(list(folder.iterdir())) == expected


def test_a_new_writer_overwrites_the_older_slot(tmp_path):
    keep(tmp_path, 1, 2)
    keep(tmp_path, 3)

    newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    newest.unlink()
    assert step_of(tmp_path) == 2


def slot_of(folder, step):
    """The slot that holds a step's snapshot."""
    for slot in SLOTS:
        others = [other for other in SLOTS if other != slot]
        hidden = [(folder / other).rename(folder / f"hidden-{other}") for other in others if (folder / other).exists()]
        found = step_of(folder)
        for path in hidden:
            path.rename(folder / path.name.removeprefix("hidden-"))
        if found == step:
            return folder / slot
    raise AssertionError(step)


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 0.99])
def test_a_truncated_slot_is_ignored_and_the_other_used(tmp_path, share):
    keep(tmp_path, 1, 2)
    slot = slot_of(tmp_path, 2)
    slot.write_bytes(slot.read_bytes()[: int(share * slot.stat().st_size)])

    assert step_of(tmp_path) == 1


@pytest.mark.parametrize("place", [-1, -100, 0, 3, 9, 30, 60, 100])
def test_a_slot_with_a_flipped_bit_is_ignored_and_the_other_used(tmp_path, place):
    keep(tmp_path, 1, 2)
    slot = slot_of(tmp_path, 2)
    content = bytearray(slot.read_bytes())
    content[place] ^= 1
    slot.write_bytes(content)

    assert step_of(tmp_path) == 1


def test_every_flipped_bit_of_a_header_is_survived(tmp_path):
    keep(tmp_path, 1, 2)
    slot = slot_of(tmp_path, 2)
    content = slot.read_bytes()
    header = int.from_bytes(content[:8], "little")
    for place in range(8 + header):
        changed = bytearray(content)
        changed[place] ^= 1
        slot.write_bytes(changed)
        found = latest_snapshot(tmp_path, "k")
        assert found.step == 1 or (found.counters == {"step": 2, "best": 0.5} and found.step == 2), place


def test_after_a_damaged_slot_it_is_the_one_that_is_written_next(tmp_path):
    keep(tmp_path, 1, 2)
    slot_of(tmp_path, 2).write_bytes(b"")
    keep(tmp_path, 3)

    assert step_of(tmp_path) == 3
    slot_of(tmp_path, 3).unlink()
    assert step_of(tmp_path) == 1


def test_snapshots_of_another_key_are_ignored_and_overwritten(tmp_path):
    keep(tmp_path, 7, 8, key="old")

    assert step_of(tmp_path) is None
    keep(tmp_path, 1)
    assert step_of(tmp_path) == 1


def test_a_process_that_ends_between_writing_and_renaming_leaves_the_last_good_state(tmp_path, monkeypatch):
    keep(tmp_path, 1, 2)

    def killed(self, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            keep(tmp_path, 3)

    assert step_of(tmp_path) == 2


def test_a_temporary_file_that_a_killed_process_left_does_no_harm(tmp_path):
    keep(tmp_path, 1)
    (tmp_path / f".{SLOTS[1]}.999.part").write_bytes(b"half")

    assert step_of(tmp_path) == 1
    keep(tmp_path, 2)
    assert step_of(tmp_path) == 2


def test_what_goes_wrong_in_the_background_is_raised_at_the_next_call(tmp_path):
    (tmp_path / "file").write_text("")
    writer = SnapshotWriter(tmp_path / "file" / "progress", "k", seconds=0)
    writer.keep(snapshot(1), True)

    with pytest.raises(OSError, match="Not a directory"):
        writer.finish()
    writer.finish()


def test_a_snapshot_soon_after_another_is_let_go_unless_it_must_be_kept(tmp_path):
    writer = SnapshotWriter(tmp_path, "k", seconds=1000)
    writer.keep(snapshot(1), False)
    writer.keep(snapshot(2), False)
    writer.finish()
    assert step_of(tmp_path) == 1

    writer.keep(snapshot(3), True)
    writer.finish()
    assert step_of(tmp_path) == 3


def test_arrays_that_lie_crosswise_are_kept(tmp_path):
    base = torch.arange(6.0).view(2, 3)
    writer = SnapshotWriter(tmp_path, "k", seconds=0)
    writer.keep(Snapshot(step=1, arrays={"b": base.t()}), True)
    writer.finish()

    found = latest_snapshot(tmp_path, "k").arrays
    assert torch.equal(found["b"], base.t())
