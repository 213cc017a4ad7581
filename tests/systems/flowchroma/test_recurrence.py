"""Coloring of sequences: what matching and recurrence promise, at tiny sizes."""

import pytest
import torch

from gradatim.errors import DataError, PlanError
from gradatim.systems.flowchroma import matching as matching_module
from gradatim.systems.flowchroma.color import rgb_of_lab
from gradatim.systems.flowchroma.matching import Matches, encode_references, match_sequences
from gradatim.systems.flowchroma.parts.carrying import Carrying
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, PlaceholderFusion, SimpleFusionNet, UNetFusionNet
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import WarpNet
from gradatim.systems.flowchroma.recurrence import carry, color_sequences

SIZE = (32, 40)
SIDE = 32


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def flows(**changes):
    small = {"width": 8, "features": 8, "widths": (4, 4, 8), "levels": 2, "radius": 1, "iterations": 2}
    made = MemFlow(**{**small, "train_tokens": 20.0, **changes}).eval()
    with torch.no_grad():
        made.update.gamma.fill_(1)
        # A network that has learned nothing hardly looks at the second frame.
        made.features.out.weight.mul_(30)
    return made


def backbone():
    return SwinPyramid(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=1, hidden=8).eval()


def matching():
    return WarpNet(widths=(8, 16, 32, 64), width=8).eval()


def lab(*shape):
    return torch.rand(*shape) * 2 - 1


def proposals(frames):
    batch, count, _, *size = frames.shape
    return Matches(lab(batch, count, 2, *size), torch.rand(batch, count, 1, *size))


def colored(frames, matches, memflow=None, fusion=None, **carrying):
    torch.manual_seed(0)
    fusion = SimpleFusionNet().eval() if fusion is None else fusion
    memflow = flows() if memflow is None else memflow
    return color_sequences(memflow, fusion, frames, matches=matches, carrying=Carrying(**carrying))


class Counted:
    """A backbone that remembers what it was shown."""

    def __init__(self, network):
        self.network, self.seen = network, []

    def __call__(self, rgb):
        self.seen.append(rgb)
        return self.network(rgb)


@torch.no_grad()
def test_a_batch_is_its_sequences():
    frames, lightness = lab(2, 3, 3, *SIZE), lab(2, 3, 1, SIDE, SIDE)
    references = lab(2, 3, 3, SIDE, SIDE)
    swin, warpnet, options = backbone(), matching(), {"size": SIZE, "temperature": 0.1}

    matches = match_sequences(swin, warpnet, lightness, references, **options)
    whole = colored(frames, matches)

    assert whole.outputs.shape == whole.carried.shape == (2, 3, 3, *SIZE)
    assert whole.confidences.shape == matches.similarity.shape == (2, 3, 1, *SIZE)
    assert matches.colors.shape == (2, 3, 2, *SIZE)
    for n in range(2):
        one = slice(n, n + 1)
        alone = match_sequences(swin, warpnet, lightness[one], references[one], **options)
        torch.testing.assert_close(alone.colors, matches.colors[one], atol=1e-4, rtol=0)
        again = colored(frames[one], alone)
        for name in ("outputs", "carried", "confidences"):
            torch.testing.assert_close(getattr(again, name), getattr(whole, name)[one], atol=1e-3, rtol=0)


@torch.no_grad()
def test_one_reference_serves_a_whole_sequence_and_is_seen_once():
    lightness, reference = lab(2, 3, 1, SIDE, SIDE), lab(2, 1, 3, SIDE, SIDE)
    swin, warpnet, options = Counted(backbone()), matching(), {"size": SIZE, "temperature": 0.1}

    once = match_sequences(swin, warpnet, lightness, reference, **options)
    each = match_sequences(swin, warpnet, lightness, reference.expand(-1, 3, -1, -1, -1), **options)

    assert [len(rgb) for rgb in swin.seen] == [2, 6, 6, 6]
    torch.testing.assert_close(once.colors, each.colors, atol=1e-4, rtol=0)
    torch.testing.assert_close(once.similarity, each.similarity, atol=1e-4, rtol=0)
    with pytest.raises(DataError, match="2 x 2 references for 2 x 3 frames"):
        match_sequences(swin, warpnet, lightness, reference.expand(-1, 2, -1, -1, -1), **options)


@torch.no_grad()
def test_a_long_sequence_is_matched_in_pieces(monkeypatch):
    lightness, references = lab(1, 5, 1, SIDE, SIDE), lab(1, 5, 3, SIDE, SIDE)
    swin, warpnet, options = Counted(backbone()), matching(), {"size": SIZE, "temperature": 0.1}
    whole = match_sequences(swin, warpnet, lightness, references, **options)
    monkeypatch.setattr(matching_module, "_AT_ONCE", 2)

    pieces = match_sequences(swin, warpnet, lightness, references, **options)

    assert [len(rgb) for rgb in swin.seen] == [5, 5, 5, 2, 2, 1]
    torch.testing.assert_close(pieces.colors, whole.colors, atol=1e-4, rtol=0)
    torch.testing.assert_close(pieces.similarity, whole.similarity, atol=1e-4, rtol=0)


def test_a_backbone_sees_the_true_colors_of_a_reference_or_almost_gray_ones():
    swin, reference = Counted(backbone()), torch.tensor([0.0, 0.5, -0.5]).view(1, 3, 1, 1).expand(-1, -1, SIDE, SIDE)

    encode_references(swin, reference)
    encode_references(swin, reference, uncenter_ab=False)

    true, gray = swin.seen
    expected = rgb_of_lab(torch.tensor([50.0, 63.5, -63.5])[:, None, None])
    torch.testing.assert_close(true[0, :, :1, :1], expected)
    assert (gray.amax(dim=1) - gray.amin(dim=1)).max() < 0.02


@torch.no_grad()
def test_a_first_frame_has_its_match_alone():
    frames, fusion = lab(1, 2, 3, *SIZE), SimpleFusionNet().eval()
    matches = proposals(frames)

    whole = colored(frames, matches, fusion=fusion)

    nothing = torch.zeros(1, 3, *SIZE)
    matched = torch.cat([frames[:, 0, :1], matches.colors[:, 0]], dim=1)
    expected = fusion(nothing, nothing[:, :1], matched, matches.similarity[:, 0])
    assert torch.equal(whole.carried[:, 0], nothing)
    assert torch.equal(whole.confidences[:, 0], nothing[:, :1])
    assert torch.equal(whole.outputs[:, 0], torch.cat([frames[:, 0, :1], expected], dim=1))
    assert torch.equal(whole.outputs[:, :, :1], frames[:, :, :1])
    assert torch.equal(whole.carried[:, 1, :1], frames[:, 1, :1])
    assert whole.confidences[:, 1].any()
    assert colored(frames[:, :1], matches).memory is None


@torch.no_grad()
def test_true_colors_are_looked_at_only_where_that_is_asked_for():
    frames = lab(1, 3, 3, *SIZE)
    matches = proposals(frames)
    gray = torch.cat([frames[:, :, :1], torch.zeros_like(frames[:, :, 1:])], dim=2)
    modes = ("previous", "ground_truth", "zero")

    of_color, of_gray = (
        {mode: colored(given, matches, target_ab=mode).outputs for mode in modes} for given in (frames, gray)
    )

    assert torch.equal(of_color["previous"], of_gray["previous"])
    assert torch.equal(of_color["zero"], of_gray["zero"])
    assert torch.equal(of_gray["ground_truth"], of_gray["zero"])
    assert not torch.allclose(of_color["ground_truth"], of_gray["ground_truth"])
    assert not torch.allclose(of_color["previous"], of_color["zero"])


@torch.no_grad()
def test_a_memory_is_bounded():
    frames = lab(1, 4, 3, *SIZE)
    matches, found = proposals(frames), {}

    for limit, kept in ((1, 1), (2, 2), (None, 3)):
        found[limit] = colored(frames, matches, max_history=limit)
        assert len(found[limit].memory) == kept

    # The third pair of frames is the first that can remember two.
    assert torch.equal(found[1].carried[:, :3], found[None].carried[:, :3])
    assert not torch.allclose(found[1].carried[:, 3], found[2].carried[:, 3])
    assert torch.equal(found[2].carried, found[None].carried)


@torch.no_grad()
def test_a_flow_is_multiplied_before_it_carries():
    memflow, (before, frame) = flows(), lab(2, 1, 3, *SIZE)

    still = carry(memflow, before, frame, None, carrying=Carrying(flow_scale=0.0))
    once, often = (carry(memflow, before, frame, None, carrying=Carrying(flow_scale=by)) for by in (1.0, 8.0))

    torch.testing.assert_close(still.lab, torch.cat([frame[:, :1], before[:, 1:]], dim=1), atol=1e-5, rtol=0)
    assert not torch.allclose(once.lab, often.lab)
    assert torch.equal(once.confidence, often.confidence)


def test_a_gradient_stays_within_its_frame():
    frames = lab(1, 3, 3, *SIZE)
    matches, memflow = proposals(frames), flows()
    matches.colors.requires_grad_()

    whole = colored(frames, matches, memflow)
    whole.outputs[:, 2].square().sum().backward()

    assert not whole.carried.requires_grad
    assert not whole.confidences.requires_grad
    assert not matches.colors.grad[:, :2].any()
    assert matches.colors.grad[:, 2].any()
    assert all(parameter.grad is None for parameter in memflow.parameters())


@torch.no_grad()
@pytest.mark.parametrize("size", [(32, 40), (29, 43), (7, 90)])
@pytest.mark.parametrize("kind", ["mean", "simple", "unet", "v1"])
def test_frames_have_any_size(size, kind):
    build = {
        "mean": PlaceholderFusion,
        "simple": SimpleFusionNet,
        "unet": lambda: UNetFusionNet(width=2),
        "v1": lambda: FusionNetV1(width=1),
    }
    frames = lab(1, 2, 3, *size)

    whole = colored(frames, proposals(frames), fusion=build[kind]().eval())

    assert whole.outputs.shape == frames.shape
    assert whole.confidences.shape == (1, 2, 1, *size)
    assert whole.outputs.isfinite().all()


def test_options_without_meaning_are_refused():
    with pytest.raises(PlanError, match="unknown colors 'grond_truth'"):
        Carrying(target_ab="grond_truth")
    with pytest.raises(PlanError, match="at least 1, or None for all pairs"):
        Carrying(max_history=0)
    frames = lab(1, 0, 3, *SIZE)
    with pytest.raises(DataError, match="without frames"):
        colored(frames, Matches(frames, frames))
