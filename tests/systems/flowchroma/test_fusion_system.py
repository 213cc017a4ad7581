"""The fusion system as loops of one's own use it, at tiny sizes."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import optim

from gradatim.errors import DataError, WeightsError
from gradatim.systems.flowchroma import fusion_files
from gradatim.systems.flowchroma.fusion_loss import FusionLoss
from gradatim.systems.flowchroma.fusion_system import FusionSystem
from gradatim.systems.flowchroma.parts.colorvidnet import ColorVidNet
from gradatim.systems.flowchroma.parts.fusion import FusionNetV1, SimpleFusionNet
from gradatim.systems.flowchroma.parts.memflow import MemFlow
from gradatim.systems.flowchroma.parts.swin import SwinPyramid
from gradatim.systems.flowchroma.parts.warpnet import WarpNet

SIZE = (32, 40)
SIDE = 32


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _colors():
    pytest.importorskip("cv2")


def tiny():
    memflow = MemFlow(
        width=8, features=8, widths=(4, 4, 8), levels=2, radius=1, iterations=2, train_tokens=20.0
    )  # fmt: skip
    swin = SwinPyramid(width=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=1, hidden=8)
    return {"memflow": memflow, "swin": swin, "warpnet": WarpNet(widths=(8, 16, 32, 64), width=8)}


def built(fusion=None, **options):
    return FusionSystem(fusion_net=fusion or SimpleFusionNet(), match_size=SIDE, **tiny(), **options)


def picture(size=SIZE):
    """A smooth picture with some color."""
    coarse = np.random.default_rng(0).integers(0, 256, (3, 3, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)


def sequence(count=3, size=SIZE):
    """Frames with one color, their pictures, and references."""
    lab = torch.rand(count, 3, *size) * 2 - 1
    lab[:, 1:] = torch.tensor([0.5, -0.25])[:, None, None]
    return {"frames_lab": list(lab), "frames_pil": [picture(size) for _ in lab], "references_pil": count * [picture()]}


def color(system, batch, **options):
    return system.forward_sequence(batch["frames_lab"], batch["frames_pil"], batch["references_pil"], **options)


def test_the_guide_s_loop_runs_and_lowers_the_loss():
    system = built()
    dataloader, num_epochs, losses = [sequence(), sequence(2)], 6, []
    before = {name: array.clone() for name, array in system.state_dict().items()}

    criterion = FusionLoss()
    optimizer = optim.Adam(system.parameters(), lr=1e-2)
    for _epoch in range(num_epochs):
        for batch in dataloader:
            frames_lab = batch["frames_lab"]
            frames_pil = batch["frames_pil"]
            references_pil = batch["references_pil"]
            system.reset_memory()
            outputs, memflow_outputs, _memflow_confs = system.forward_sequence(
                frames_lab, frames_pil, references_pil, return_memflow=True
            )
            loss = criterion(outputs, frames_lab, memflow_outputs)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    assert losses[-2] < 0.7 * losses[0]
    assert losses[-1] < 0.7 * losses[1]
    changed = {
        name.split(".")[0] for name, array in system.state_dict().items() if not torch.equal(array, before[name])
    }
    assert changed == {"warpnet", "fusion"}


def test_a_loss_reaches_both_networks_that_learn():
    system, batch = built(), sequence()
    outputs, carried, confidences = color(system, batch, return_memflow=True)

    FusionLoss()(outputs, batch["frames_lab"], carried, confidences).backward()

    for network in (system.warpnet.query, system.warpnet.key, system.warpnet.branches, system.fusion):
        assert any(parameter.grad.any() for parameter in network.parameters())


def test_a_loop_may_use_mixed_precision():
    system, batch = built(FusionNetV1(width=2)), sequence()
    with torch.autocast("cpu", torch.bfloat16):
        outputs, carried, confidences = color(system, batch, return_memflow=True)
        loss = FusionLoss()(outputs, batch["frames_lab"], carried, confidences)
    loss.backward()

    assert {x.dtype for x in (*outputs, *carried, *confidences, loss)} == {torch.float32}
    assert all(parameter.grad.isfinite().all() for parameter in system.parameters() if parameter.grad is not None)


def test_what_learns_is_what_an_optimizer_is_given():
    system = built()
    groups = system.get_parameter_groups()
    learning = [*system.warpnet.parameters(), *system.fusion.parameters()]

    assert [group["name"] for group in groups] == ["swintexco", "fusion"]
    assert [id(p) for group in groups for p in group["params"]] == [id(p) for p in learning]
    assert {id(p) for p in system.parameters()} == {id(p) for p in learning}
    assert all(p.requires_grad for p in system.parameters())


def test_frozen_networks_stay_in_evaluation_mode():
    system = built().train()

    system.swin.train()
    system.requires_grad_()

    for frozen in (system.memflow, system.swin):
        assert not any(module.training for module in frozen.modules())
        assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(module.training for module in (*system.warpnet.modules(), *system.fusion.modules()))
    assert not any(module.training for module in system.eval().modules())


def test_a_state_and_a_move_reach_every_network():
    system, other = built(), built()
    assert any(
        not torch.equal(x, y) for x, y in zip(system.memflow.parameters(), other.memflow.parameters(), strict=True)
    )

    other.load_state_dict(system.state_dict())

    assert {name.split(".")[0] for name in system.state_dict()} == {"memflow", "swin", "warpnet", "fusion"}
    assert all(torch.equal(array, other.state_dict()[name]) for name, array in system.state_dict().items())
    assert all(array.is_meta for array in other.to("meta").state_dict().values())


@torch.no_grad()
def test_frames_one_by_one_are_colored_as_in_a_list():
    system, batch = built().eval(), sequence(4)
    outputs, carried, confidences = color(system, batch, return_memflow=True)
    assert [tuple(x[0].shape) for x in (outputs, carried, confidences)] == [(3, *SIZE), (3, *SIZE), (1, *SIZE)]

    system.reset_memory()
    before = None
    for n, given in enumerate(zip(batch["frames_lab"], batch["references_pil"], batch["frames_pil"], strict=True)):
        before = system(before, *given)
        torch.testing.assert_close(before, outputs[n], atol=1e-4, rtol=0)

    again, lab, confidence = system.forward_with_memflow(None, *given, is_first=True)
    batched = system.forward_single_frame(again[None], given[0][None], *given[1:])

    assert not lab.any()
    assert not confidence.any()
    assert batched.shape == (1, 3, *SIZE)
    with pytest.raises(DataError, match="frame_t is None"):
        system(None, *given)


@torch.no_grad()
def test_a_pair_is_remembered_until_a_sequence_begins():
    system = built(max_history=2).eval()
    torch.nn.init.ones_(system.memflow.update.gamma)
    first, second = torch.rand(2, 3, *SIZE)

    alone, confidence = system.memflow_inference(first, second)
    remembering, _ = system.memflow_inference(first, second)
    system.reset_memory()
    fresh, _ = system.memflow_inference(first, second)

    assert alone.shape == (1, 3, *SIZE)
    assert confidence.shape == (1, 1, *SIZE)
    assert torch.equal(alone, fresh)
    assert not torch.equal(alone, remembering)


@torch.no_grad()
def test_a_reference_is_encoded_once_while_it_is_the_same_object():
    system, batch = built().eval(), sequence(4)
    seen, one, other = [], picture(), picture()
    system.swin.register_forward_hook(lambda module, given, made: seen.append(len(given[0])))

    batch["references_pil"] = [one, other, one, one]
    color(system, batch)
    assert sorted(seen) == [2, 4]

    seen.clear()
    system.reset_memory()
    for reference in (one, one, other):
        system(batch["frames_lab"][0], batch["frames_lab"][0], reference, batch["frames_pil"][0])
    assert len(seen) == 3 + 2


@torch.no_grad()
def test_each_frame_is_matched_with_its_own_reference():
    system = built().eval()
    red, blue = (Image.new("RGB", (50, 30), name) for name in ("red", "blue"))
    (frame,) = sequence(1)["frames_pil"]

    colors = [system.swintexco_inference(reference, frame)[0].mean(dim=(0, 2, 3)) for reference in (red, blue)]
    found, _ = system._matched([blue, red, blue], 3 * [frame], SIZE)

    for given, n in zip(found, (1, 0, 1), strict=True):
        torch.testing.assert_close(given.mean(dim=(1, 2)), colors[n])
    assert colors[0][1] > 0 > colors[1][1]


def test_colors_have_a_gradient_in_train_mode_alone():
    system, (frame, reference) = built(), (picture(), picture((20, 60)).transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    gradients = []
    for mode in (True, False):
        system.train(mode).zero_grad()
        colors, similarity = system.swintexco_inference(reference, frame)
        colors.square().sum().backward()
        gradients.append(system.warpnet.query.weight.grad.abs().sum())

    assert colors.shape == (1, 2, SIDE, SIDE)
    assert similarity.shape == (1, 1, SIDE, SIDE)
    assert gradients[0] > 1e-6
    assert gradients[1] == 0


@torch.no_grad()
def test_frames_have_any_size():
    system = built(FusionNetV1(width=1)).eval()
    outputs = color(system, sequence(2, (27, 45)))
    assert [tuple(x.shape) for x in outputs] == 2 * [(3, 27, 45)]


def test_lists_that_do_not_belong_together_are_refused():
    system, batch = built(), sequence()
    with pytest.raises(DataError, match="3 frames, 3 of them as pictures, 2 references"):
        color(system, batch | {"references_pil": batch["references_pil"][:2]})
    with pytest.raises(DataError, match="at least one"):
        color(system, {"frames_lab": [], "frames_pil": [], "references_pil": []})
    with pytest.raises(DataError, match="frames_lab holds list, list, list"):
        color(system, batch | {"frames_lab": [batch["frames_lab"]] * 3})
    with pytest.raises(DataError, match="32 x 40 and 16 x 16 pixels"):
        system.memflow_inference(batch["frames_lab"][0], torch.zeros(3, 16, 16))


def unreachable(*args, **options):
    raise WeightsError("hub repository 'timm/x': no connection")


def test_all_that_is_lacking_is_told_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(fusion_files, "hub_file", unreachable)
    monkeypatch.setattr(fusion_files, "read_weights", None)

    with pytest.raises(WeightsError) as error:
        FusionSystem()
    lines = str(error.value).splitlines()
    assert lines[0] == "FusionSystem lacks what it is made of; nothing was loaded"
    assert "memflow_ckpt: give a file" in lines[1]
    assert "no connection; where the hub cannot be reached, give `swin` a file" in lines[2]

    with pytest.raises(WeightsError) as error:
        FusionSystem("../MemFlow", "../SwinSingle", tmp_path / "memflow.pth", tmp_path)
    missing = {line.split(":")[0].strip() for line in str(error.value).splitlines()[1:]}
    assert missing == {"memflow", "swin", "warpnet", "colornet"}


def test_a_place_on_the_hub_can_be_pinned(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(fusion_files, "hub_file", lambda repo, **how: asked.append((repo, how["revision"])) or tmp_path)
    fusion_files.backbone_file("hub:timm/net@0a1b")
    fusion_files.backbone_file("hub:timm/net")
    assert asked == [("timm/net", "0a1b"), ("timm/net", "main")]


def written(path, part, network):
    """A file of a network with one number in all its arrays, by our names; as small as the number."""
    number = torch.tensor(0.25)
    arrays = {f"{part}.{name}": number.to(x.dtype).expand(x.shape) for name, x in network.state_dict().items()}
    torch.save(arrays, path)
    return path


def sample_files(folder):
    with torch.device("meta"):
        networks = {
            "memflow.pth": ("memflow", MemFlow()),
            "embed_net.pth": ("swin", SwinPyramid()),
            "nonlocal_net.pth": ("warpnet", WarpNet()),
            "colornet.pth": ("colornet", ColorVidNet()),
        }
    for name, (part, network) in networks.items():
        written(folder / name, part, network)


def test_networks_come_out_of_files_and_a_wrong_one_is_refused_with_an_account(tmp_path):
    sample_files(tmp_path)
    fusion = SimpleFusionNet()

    system = FusionSystem(
        "../MemFlow", "../SwinSingle", tmp_path / "memflow.pth", tmp_path, fusion, memory_keys="values"
    )

    for network in (system.memflow, system.swin, system.warpnet, system.colornet):
        assert all((array == 0.25).all() for array in network.parameters())
    assert system.memflow.memory_keys == "values"
    assert not any(p.requires_grad for p in (*system.memflow.parameters(), *system.colornet.parameters()))
    assert {name.split(".")[0] for name, _ in system.named_parameters()} == {"warpnet", "fusion"}

    with pytest.raises(WeightsError) as error:
        FusionSystem(memflow_ckpt=tmp_path / "nonlocal_net.pth", swintexco_ckpt=tmp_path, fusion_net=fusion)
    assert "nonlocal_net.pth: does not fit" in str(error.value)
    assert "part 'memflow': loaded 0 of" in str(error.value)
    with torch.device("meta"):
        of_seven_channels = ColorVidNet(7)
    written(tmp_path / "colornet.pth", "colornet", of_seven_channels)
    with pytest.raises(WeightsError, match=r"stem.weight: file has \(32, 7, 3, 3\), part needs \(32, 4, 3, 3\)"):
        FusionSystem(memflow_ckpt=tmp_path / "memflow.pth", swintexco_ckpt=tmp_path, fusion_net=fusion)


def test_a_backbone_s_file_does_without_swintexco(tmp_path):
    sample_files(tmp_path)

    system = FusionSystem(
        memflow_ckpt=tmp_path / "memflow.pth", fusion_net=SimpleFusionNet(), swin=tmp_path / "embed_net.pth"
    )

    assert all((array == 0.25).all() for array in system.swin.parameters())
    assert system.colornet is None
    assert not (system.warpnet.query.weight == 0.25).any()
