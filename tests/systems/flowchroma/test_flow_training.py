"""Training flows on colors: pairs in order, memories drawn, and flows that learn to bring colors along."""

import torch

from gradatim.systems.flowchroma.flow_training import carry_along
from gradatim.systems.flowchroma.losses import color_sequence
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.memory import Memory, remembered
from gradatim.systems.flowchroma.warping import warp_color_by_flow

SIZE = (32, 40)


def network():
    torch.manual_seed(0)
    made = MemFlow(width=8, features=8, widths=(4, 4, 8), levels=2, radius=1, iterations=2, train_tokens=20.0)
    torch.nn.init.ones_(made.update.gamma)
    return made


def moving(batch=2, count=4):
    """Frames of one colored texture that moves to the right by two pixels from frame to frame."""
    torch.manual_seed(1)
    wide = torch.nn.functional.interpolate(torch.rand(batch, 3, 8, 16) * 2 - 1, size=(32, 64), mode="bilinear")
    return torch.stack([wide[..., 16 - 2 * n : 56 - 2 * n] for n in range(count)], dim=1)


def generator():
    return torch.Generator().manual_seed(3)


@torch.no_grad()
def test_each_pair_is_carried_with_what_was_remembered_before_it():
    memflow, frames = network().eval(), moving()

    carried = carry_along(memflow, frames, generator(), pairs=4)

    assert carried.shape == (2, 3, 2, 2, *SIZE)
    memory: Memory | None = None
    for pair in range(3):
        estimate = memflow(frames[:, pair], frames[:, pair + 1], memory)
        for step, flow in enumerate(estimate.flows):
            expected = warp_color_by_flow(frames[:, pair, 1:], flow)
            torch.testing.assert_close(carried[:, pair, step], expected, atol=1e-4, rtol=0)
        memory = remembered(memory, estimate.key, estimate.value, limit=None)


@torch.no_grad()
def test_memories_are_drawn_once_there_are_more_than_the_network_looks_at():
    memflow, frames = network().eval(), moving(batch=1, count=6)
    first = carry_along(memflow, frames, generator())
    again = carry_along(memflow, frames, generator())
    others = [carry_along(memflow, frames, torch.Generator().manual_seed(n)) for n in range(4, 10)]

    assert torch.equal(first, again)
    assert all(torch.equal(first[:, :2], other[:, :2]) for other in others)
    assert any(not torch.equal(first[:, 2:], other[:, 2:]) for other in others)
    alone = carry_along(memflow, frames, generator(), pairs=1)
    assert not torch.equal(alone[:, 2:], first[:, 2:])


def test_flows_learn_to_bring_colors_along():
    memflow, frames = network(), moving()
    optimizer = torch.optim.Adam(memflow.parameters(), lr=2e-3)
    target = frames[:, 1:, 1:]
    losses = []

    for _ in range(25):
        carried = carry_along(memflow, frames, generator())
        loss = color_sequence(list(carried.unbind(2)), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    assert losses[-1] < 0.8 * losses[0]
    assert all(parameter.grad is not None for parameter in memflow.parameters())
