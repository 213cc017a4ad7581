"""The whole model: its outputs, and one training step in each of the original's modes.

A mode is read from its name: which parts train, which task runs, which loss counts.
"""

import re
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from gradatim.systems.maefuse.losses import LOSSES
from gradatim.systems.maefuse.model import PARTS, MaeFuseSettings
from gradatim.systems.maefuse.steps import TASKS
from gradatim.task import read_tasks
from gradatim.vision.normalization import to_imagenet
from parity.maefuse.support import Case, cases, grid_of, load, places, settings_of, undrawn

pytestmark = pytest.mark.parity
FIELDS = ("visible", "infrared", "image")
LR, DECAY = 1e-4, 0.05
CHAINS = read_tasks(TASKS, PARTS, FIELDS)


@dataclass(frozen=True)
class Mode:
    """What the name of a mode says."""

    task: str
    train: tuple[str, ...]
    output: str
    losses: dict[str, float]

    @classmethod
    def read(cls, name: str) -> "Mode":
        train = tuple(
            part
            for part, told in (
                ("decoder", "decoder" in name),
                ("cfm", "CFM" in name and "CFM_lock" not in name),
                ("mfm", "MFM" in name),
            )
            if told
        )
        merged = "MFM" in name
        if "_mean" in name:
            value = "fused_tokens" if merged else "pattern"
            return cls("align_fused" if merged else "align_pattern", train, value, {value.split("_")[0] + "_mean": 1})
        return cls("fuse" if merged else "fuse_pattern", train, "fused_patches", {"gradient": 1, "laplacian": 2})


def loaded(root, case: Case, axis: str) -> dict[str, nn.Module]:
    """All parts of a case, with the original's weights, in evaluation mode and frozen."""
    parts = undrawn(settings(case, axis), "encoder", "decoder", "cfm", "mfm")
    load(root, case.entry("keys"), parts, "whole")
    for part in parts.values():
        part.requires_grad_(False)
    case.check_norms(parts["encoder"], parts["decoder"])
    return parts


def settings(case: Case, axis: str) -> MaeFuseSettings:
    if "mae_options" not in case.entries:  # the full-size file names the original's factory
        assert case.entry("options", "model") == "mae_decoder_4_640"
        result = MaeFuseSettings(size="large", attention_axis=axis)
        assert result.width == case.entry("options", "embed_dim")
        return result
    fusion = case.entry("fusion_options")
    result = settings_of(case.entry("mae_options"), fusion_heads=fusion["num_heads"], attention_axis=axis)
    assert (result.grid, result.width) == (grid_of(fusion["grid"]), fusion["embed_dim"])
    return result


def images(case: Case) -> dict[str, Tensor]:
    """Both images, (B, 3, H, W) in [0, 1], from gray levels."""
    levels = {"visible": case.input("vi_uint8"), "infrared": case.input("ir_uint8")}
    return {name: (array.float() / 255).unsqueeze(1).expand(-1, 3, -1, -1) for name, array in levels.items()}


def run(mode: Mode, parts, sample, *more: str) -> dict[str, Tensor]:
    """The mode's output and what its losses need."""
    needs = {"fused", "pattern", "fused_tokens"} & {mode.output, mode.output.replace("_patches", "")}
    want = {mode.output, *needs, *more} | ({"visible_tokens", "infrared_tokens"} if "tokens" in mode.task else set())
    return CHAINS[mode.task].compute(parts, sample, want=sorted(want))


def term(name: str, values, sample) -> Tensor:
    """A loss by name, fed with values by its arguments' names."""
    function = LOSSES[name]
    found = {**sample, **values}
    code = function.__code__
    return function(*(found[argument] for argument in code.co_varnames[: code.co_argcount]))


def test_the_whole_model_is_the_originals_in_a_batch_and_one_by_one(parity_root):
    for case in cases(parity_root, "model*"):
        sample = images(case)
        batch, one = (loaded(parity_root, case, axis) for axis in ("batch", "sample"))
        out = CHAINS["fuse"].compute(batch, sample, want=("fused_patches", "fused"))
        case.check("pred", out["fused_patches"])
        case.check("image", to_imagenet(out["fused"]))
        case.check("pred_b1", CHAINS["fuse"].compute(one, sample, want=("fused_patches",))["fused_patches"])
        for name in case.entries["modes"]:
            assert check_mode(parity_root, case, name, sample) or "error_in_original" in case.entries["modes"][name]
        check_reconstruction(parity_root, case, sample)
        case.close()


def check_mode(root, case: Case, name: str, sample) -> bool:
    """Compare everything that the file says of one mode; whether the original ran it at all."""
    told = case.entries["modes"][name]
    mode, parts = Mode.read(name), loaded(root, case, "batch")
    if "error_in_original" in told:
        case.entry("modes", name)
        return False  # its list and shape describe a fault; what it should do is `decoder_reconstruction`
    for part in mode.train:
        parts[part].requires_grad_(True).train()
    values = run(mode, parts, sample, *(["visible_tokens", "infrared_tokens"] if "_mean" in name else []))
    terms = {loss: term(loss, values, sample) for loss in mode.losses}
    total = sum(weight * terms[loss] for loss, weight in mode.losses.items())
    check_forward(case, name, told, values[mode.output], mode, terms, total)
    total.backward()
    check_gradients(case, name, told, mode, parts)
    step_and_check_changes(case, name, told, parts)
    after = run(mode, parts, sample)[mode.output]
    check_subsampled(case, f"out_after_step_{name}", after)
    return True


def check_forward(case: Case, name: str, told, output: Tensor, mode: Mode, terms, total: Tensor) -> None:
    assert list(output.shape) == case.entry("modes", name, "forward_shape")
    stored = re.search(r"array `?(\w+)`?", case.entry("modes", name, "forward_output"))[1]
    if stored in case.open_arrays:
        check_subsampled(case, stored, output)
    else:
        torch.testing.assert_close(output, torch.from_numpy(case.arrays[stored]), atol=1e-5, rtol=0)
    case.check_entry(("modes", name, "loss"), total, rtol=1e-6)
    told_terms = {key for key in told if key.startswith("loss_")}
    assert told_terms == ({"loss_grad", "loss_laplacian"} if "gradient" in terms else set())
    for key, term_name in (("loss_grad", "gradient"), ("loss_laplacian", "laplacian")):
        if key in told_terms:
            case.check_entry(("modes", name, key), terms[term_name], rtol=1e-6)
    known = {"trainable", "forward_shape", "forward_output", "loss", "grad_norm", "change_norm", *told_terms}
    assert set(told) == known


def check_gradients(case: Case, name: str, told, mode: Mode, parts) -> None:
    """Exactly the arrays that got a gradient in the original get one here, of the same size."""
    found = trained_arrays(case, parts)
    assert set(told["grad_norm"]) == {key for key, array in found.items() if array.grad is not None} == set(found)
    for key in told["grad_norm"]:
        case.check_entry(("modes", name, "grad_norm", key), found[key].grad.norm(), rtol=1e-4)
    # In the modes that train CFM alone the original also marks MFM's arrays, which then get no gradient.
    marked = set(case.entry("modes", name, "trainable"))
    idle = marked - set(found)
    assert set(found) <= marked
    assert {places([key], "whole")[key][0][0] for key in idle} <= ({"mfm"} if mode.train == ("cfm",) else set())


def trained_arrays(case: Case, parts) -> dict[str, Tensor]:
    """Arrays that learn, under the original's keys."""
    result = {}
    for key, ((part, name), *_) in places(case.entries["keys"], "whole").items():
        array = dict(parts[part].named_parameters()).get(name)
        if array is not None and array.requires_grad:
            result[key] = array
    return result


def step_and_check_changes(case: Case, name: str, told, parts) -> None:
    """Take one AdamW step and compare how far each array moved."""
    arrays = trained_arrays(case, parts)
    before = {key: array.detach().clone() for key, array in arrays.items()}
    groups = [
        {"params": [a for a in arrays.values() if (a.ndim > 1) == wide], "weight_decay": DECAY if wide else 0.0}
        for wide in (True, False)
    ]
    torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), eps=1e-8).step()
    assert set(told["change_norm"]) == set(arrays)
    for key, array in arrays.items():
        change = (array.detach() - before[key]).double()
        if key.endswith(("qkv.bias", "in_proj_bias")):
            check_change_of_packed_bias(case, ("modes", name, "change_norm", key), change)
        else:
            case.check_entry(("modes", name, "change_norm", key), change.norm(), rtol=1e-4)


def check_change_of_packed_bias(case: Case, place: tuple[str, ...], change: Tensor) -> None:
    """Compare without the keys' third, whose true gradient is zero: the softmax does not see a constant added to all
    scores. AdamW's first step blows the rounding noise found there up to anything between 0 and the learning rate."""
    query, key, value = change.chunk(3)
    least = torch.cat([query, value]).square().sum()
    told = case.entry(*place) ** 2
    assert least * (1 - 1e-3) <= told <= (least + key.numel() * LR**2) * (1 + 1e-3), place


def check_subsampled(case: Case, name: str, output: Tensor) -> None:
    """Compare an array that keeps every n-th token, with an n that the file's text names and the shape allows."""
    after = name.startswith("out_after_step")
    clauses = [clause for clause in case.entries["subsampling"].split(";") if ("out_after_step" in clause) == after]
    strides = {1, *(int(n) for clause in clauses for n in re.findall(r"::(\d+)\]", clause))}
    kept = case.arrays[name].shape[1]
    (stride,) = (n for n in strides if -(-output.shape[1] // n) == kept)
    # AdamW's first step is nearly the sign of the gradient, so rounding weighs more after it.
    case.check(name, output[:, ::stride], atol=5e-5 if after else 1e-5)


def check_reconstruction(root, case: Case, sample) -> None:
    """Compare training of the decoder alone, on the visible images."""
    parts = loaded(root, case, "sample")
    parts["decoder"].requires_grad_(True)
    values = CHAINS["reconstruct"].compute(parts, {"image": sample["visible"]}, want=("image_patches",))
    loss = term("reconstruction", values, {"image": sample["visible"]})
    loss.backward()

    case.check_entry(("decoder_reconstruction", "loss"), loss, rtol=1e-6)
    told = case.entries["decoder_reconstruction"]["grad_norm"]
    found = trained_arrays(case, parts)
    assert set(told) == set(found)
    for key in told:
        case.check_entry(("decoder_reconstruction", "grad_norm", key), found[key].grad.norm(), rtol=1e-4)
    case.entry("decoder_reconstruction", "note")


@pytest.mark.slow
def test_the_full_size_model_is_the_originals(parity_root):
    for case in cases(parity_root, "full_model*"):
        with torch.no_grad():
            parts = loaded(parity_root, case, "sample")
            values = CHAINS["fuse"].compute(parts, full_images(case, parts["encoder"]), want=tuple(FULL.values()))
        tokens = case.input("tokens")
        for name in sorted(case.open_arrays):
            plain, norms, every = re.fullmatch(r"(.+?)(_norms)?(?:_every_(\d+))?", name).groups()
            whole = values[FULL[plain]][0]
            if every:
                case.check(name, to_imagenet(whole)[:, :: int(every), :: int(every)], atol=1e-4)
            else:
                case.check(name, whole.norm(dim=-1) if norms else whole[tokens], atol=1e-4)
        case.close()


FULL = {
    "latent_vi": "visible_tokens",
    "latent_ir": "infrared_tokens",
    "cfm": "pattern",
    "fused": "fused_tokens",
    "pred": "fused_patches",
    "image": "fused",
}


def full_images(case: Case, encoder) -> dict[str, Tensor]:
    """The pair, each stored pixel repeated to the model's size."""
    base = case.input("base_uint8")
    times = [encoder.grid[axis] * encoder.patch_size // base.shape[1 + axis] for axis in (0, 1)]
    large = base.repeat_interleave(times[0], dim=1).repeat_interleave(times[1], dim=2).float() / 255
    return {name: large[i].expand(1, 3, -1, -1) for i, name in enumerate(("visible", "infrared"))}
