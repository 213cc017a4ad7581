"""A batch cut into what fits: `accumulate: auto`."""

from dataclasses import dataclass

import pytest
import torch

from gradatim.engine import device
from gradatim.engine.fit import SHARE, fitted
from gradatim.engine.run import run
from gradatim.errors import PlanError
from gradatim.plan import read_document
from gradatim.weights import read_weights
from toy import TOY, Rows, ToyData, ToySettings, plan, stage


@dataclass(frozen=True)
class Small(device.Place):
    """A device with so many free bytes."""

    room: int = 0

    def free_memory(self):
        return self.room


def chosen(room, **changes):
    asked = plan(stage(batch_size=12, accumulate="auto", train=["body", "head"], **changes)).resolved()
    place = Small(torch.device("cpu"), room=int(room / SHARE) + 1)
    found = fitted(TOY, asked, ToySettings(), {"fit": Rows(ToyData(), "train")}, place)
    return found.stages[0]


def least():
    """Bytes that one sample and the weights need."""
    for room in range(0, 100_000, 16):
        try:
            chosen(room)
        except PlanError:
            continue
        return room
    raise AssertionError


def test_the_pieces_are_the_largest_equal_ones_that_fit():
    one = least()
    assert (chosen(one).batch_size, chosen(one).accumulate) == (1, 12)
    sizes = [chosen(one + extra).batch_size for extra in range(0, 6000, 50)]
    assert sizes == sorted(sizes)
    assert set(sizes) == {1, 2, 3, 4, 6, 12}
    assert chosen(10**9).accumulate == 1


def test_more_that_learns_leaves_room_for_less():
    one = least()
    with pytest.raises(PlanError, match=r"stage 'fit': one sample needs about .* GB, .* GB of cpu may be used"):
        chosen(one - 32)
    assert chosen(one + 400, optimizer={"sgd": {}}).batch_size > chosen(one + 400).batch_size


def test_the_run_writes_the_numbers_and_keeps_what_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(device.Place, "free_memory", lambda place: int(least() / SHARE) + 300)
    asked = plan(stage(batch_size=12, accumulate="auto", train=["body", "head"]))

    folder = run(asked, tmp_path / "a" / "run", system=TOY).folder

    (written,) = read_document(folder / "plan.yaml").tree["stages"]
    size, times = int(written["batch_size"]), int(written["accumulate"])
    assert size * times == 12
    assert times > 1
    told = run(
        plan(stage(batch_size=size, accumulate=times, train=["body", "head"])), tmp_path / "b" / "run", system=TOY
    )
    ours, theirs = (read_weights(one / "model.safetensors").arrays for one in (folder, told.folder))
    assert all(array.equal(theirs[name]) for name, array in ours.items())

    # Going on elsewhere does not cut anew.
    monkeypatch.setattr(device.Place, "free_memory", lambda place: 10**12)
    run(asked, folder, system=TOY)
    (again,) = read_document(folder / "plan.yaml").tree["stages"]
    assert again == written
