"""Steps called as functions: order and pooling of tokens."""

import pytest
import torch
from torch import nn

from gradatim.systems.bombkd.backbones import TokenLayout
from gradatim.systems.bombkd.steps import see, teach


class Counting(nn.Module):
    """Tokens that tell their own time and place, in the order that it is asked for."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def layout(self, frames=None, size=None):
        return TokenLayout(self.order, 2, 2, 3)

    def forward(self, clip):
        time, place = torch.meshgrid(torch.arange(2.0), torch.arange(6.0), indexing="ij")
        grid = torch.stack([time, place], dim=2)
        grid = grid if self.order == "thw" else grid.transpose(0, 1)
        return grid.reshape(1, 12, 2).expand(len(clip), -1, -1)


CLIP = torch.zeros(3, 4, 3, 8, 8, dtype=torch.uint8)


@pytest.mark.parametrize("order", ["thw", "hwt"])
def test_time_comes_first_whatever_the_backbones_order(order):
    tokens = see(Counting(order), CLIP, order="thw")
    assert tokens.shape == (3, 12, 2)
    assert tokens[0, :, 0].tolist() == [0.0] * 6 + [1.0] * 6


@pytest.mark.parametrize("order", ["thw", "hwt"])
def test_tokens_are_pooled_over_space_time_or_both(order):
    backbone = Counting(order)
    assert see(backbone, CLIP, pool="space")[0].tolist() == [[0.0, 2.5], [1.0, 2.5]]
    assert see(backbone, CLIP, pool="time")[0].tolist() == [[0.5, float(place)] for place in range(6)]
    assert see(backbone, CLIP, pool="clip")[0].tolist() == [[0.5, 2.5]]


def test_teachers_are_pooled_alike():
    teachers = nn.ModuleDict({"one": Counting("thw"), "two": Counting("hwt")})
    tokens = teach(teachers, {"one": CLIP, "two": CLIP}, pool="space")
    assert torch.equal(tokens["one"], tokens["two"])
