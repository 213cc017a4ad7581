"""Each part, fed with the original's weights and inputs, gives the original's outputs."""

import pytest
import torch
from torch import Tensor, nn

from gradatim.systems.bombkd.losses import margin, sparsity
from gradatim.systems.bombkd.parts.classifier import AdvancedClassificationHead
from gradatim.systems.bombkd.parts.converters import BoundedActivation, BoundedRMSNorm
from gradatim.systems.bombkd.parts.fusion import ResidualGatedFusion, SelfResidualProbe
from gradatim.systems.bombkd.parts.kinds import build_converter, kind_in_checkpoint
from gradatim.systems.bombkd.parts.projection import ProjectionHead, clip_score
from gradatim.systems.bombkd.parts.tokens import masked_mean
from parity.bombkd.support import Case, filled, load

pytestmark = pytest.mark.parity
ATOL = 2e-5


def converter(root, entry, batch_stats: str = "batch") -> nn.Module:
    """The converter of an entry, with the original's weights."""
    options = dict(entry["kwargs"])
    kind = kind_in_checkpoint(entry["kind"])
    length = options.pop("target_len", None)
    if kind == "b":
        options["batch_stats"] = batch_stats
    module = build_converter(kind, entry["d_in"], entry["d_out"], target_len=length, options=options)
    load(filled(root, entry["keys"]), {"converters": nn.ModuleDict({entry["teacher"]: module})}, "converters")
    return module.eval()


def test_every_converter_is_the_originals(parity_root):
    case = Case(parity_root, "converters")
    names = list(case.entries["cases"])
    assert names
    for name in names:
        entry = case.entry("cases", name)
        x = case.input(f"{name}.x")
        y, mask = converter(parity_root, entry)(x)
        assert (list(x.shape), list(y.shape), mask) == (entry["in_shape"], entry["out_shape"], None)
        assert y.detach().abs().mean().item() == pytest.approx(entry["out_absmean"], abs=1e-5)
        case.check(f"{name}.y", y, atol=ATOL)
        check_padding(converter(parity_root, entry, batch_stats="clip"), x)
    check_dependence(case, parity_root)
    check_layers(case)
    case.close()


def check_padding(module: nn.Module, x: Tensor) -> None:
    """Padding changes nothing for any case's weights; clips of maps have no padding."""
    if x.ndim == 4 or x.shape[1] < 3:
        return
    mask = torch.ones(x.shape[:2], dtype=torch.bool)
    mask[0, -2:] = False
    padded, own = module(x.masked_fill(~mask.unsqueeze(2), 7.0), mask)
    alone, _ = module(x[:1, :-2])
    if own is not None:
        padded = padded[:, : int(own[0].sum())]
    torch.testing.assert_close(padded[:1], alone, atol=ATOL, rtol=0)


def check_dependence(case: Case, root) -> None:
    """Statistics over the batch couple clips as they do in the original; statistics of a clip do not."""
    entry, x = case.entries["cases"]["conv_b_default"], case.input("b_batchdep.x")
    module = converter(root, entry)
    whole, single = module(x)[0], torch.cat([module(clip)[0] for clip in x.split(1)])
    case.check("b_batchdep.full", whole, atol=ATOL)
    case.check("b_batchdep.single", single, atol=ATOL)
    case.check_entry(("b_batchdep", "max_abs_diff"), (whole - single).abs().max(), rtol=1e-4)
    by_clip = converter(root, entry, batch_stats="clip")(x)[0]
    torch.testing.assert_close(by_clip, single, atol=ATOL, rtol=0)


def check_layers(case: Case) -> None:
    """The norm and the bounded activation alone."""
    norm = BoundedRMSNorm(case.arrays["rmsnorm.weight"].shape[0])
    norm.load_state_dict({"weight": case.input("rmsnorm.weight")})
    case.check("rmsnorm.y", norm(case.input("rmsnorm.x")), atol=ATOL)
    x = case.input("asttanh.x")
    case.check("asttanh.y", BoundedActivation(x.shape[2], batch_stats="batch")(x), atol=ATOL)


HEADS = {(False, False): "none", (False, True): "none", (True, False): "linear", (True, True): "advanced"}


def test_every_fusion_is_the_originals(parity_root):
    case = Case(parity_root, "fusion")
    names = list(case.entries["cases"])
    assert names
    for name in names:
        check_fusion(case, name, parity_root)
    check_advanced_head(case, parity_root)
    case.close()


def check_fusion(case: Case, name: str, root) -> None:
    """One case: tokens, gates, scores and the sparsity of the gates."""
    options, keys = case.entry("cases", name, "options"), case.entry("cases", name, "keys")
    itself = case.entry("cases", name, "teacher_input") == "the student itself"
    classes = options["cls_dim"]
    head = HEADS[classes > 0, options.get("advance_cls_head", False)]
    module = ResidualGatedFusion(
        options["d"], options["converter_dims"], low_rank=options["low_rank"], classes=classes, head=head
    ).eval()
    load(filled(root, keys), {"fusion": module}, "fusion")
    student = case.input(f"{name}.z0")
    translated = [student] if itself else []
    while case.has(f"{name}.zhat{len(translated)}"):
        translated.append(case.input(f"{name}.zhat{len(translated)}"))
    found = module(student, translated)._asdict()
    for ours, theirs in {"tokens": "z", "gates": "alphas", "logits": "logits"}.items():
        shape = case.entry("cases", name, "out").get(theirs)
        assert (found[ours] is None) == (shape is None)
        if shape is not None:
            case.check(f"{name}.{theirs}", found[ours], atol=ATOL)
    if itself:
        probe = SelfResidualProbe(options["d"], classes, low_rank=options["low_rank"]).eval()
        load(filled(root, keys), {"probe": probe}, "probe")
        assert torch.equal(probe(student).logits, found["logits"])
    case.check_entry(("cases", name, "sparsity_l1"), 1e-3 * sparsity(found["gates"]), rtol=1e-5)
    case.check_entry(("cases", name, "sparsity_entropy"), 1e-3 * sparsity(found["gates"], kind="entropy"), rtol=1e-5)
    case.check_entry(("cases", name, "sparsity_l1_lam0"), 0 * sparsity(found["gates"]), rtol=0)


def check_advanced_head(case: Case, root) -> None:
    """The head alone, with a mask, without one, and on vectors."""
    options = case.entry("advhead", "options")
    head = AdvancedClassificationHead(options["d"], options["cls_dim"]).eval()
    keys = {key.removeprefix("advance_cls_head."): key for key in case.entries["advhead"]["keys"]}
    arrays = filled(root, case.entry("advhead", "keys"))
    head.load_state_dict({ours: arrays[key] for ours, key in keys.items()}, strict=True)
    x = case.input("advhead.x")
    case.check("advhead.y", head(x), atol=ATOL)
    case.check("advhead.y_mask", head(x, case.input("advhead.mask")), atol=ATOL)
    case.check("advhead.y2", head(case.input("advhead.x2")), atol=ATOL)


def test_projection_scores_and_margin_are_the_originals(parity_root):
    case = Case(parity_root, "vad_head")
    options = case.entry("options")
    head = ProjectionHead(options["d_in"], options["d_lat"]).eval()
    head.load_state_dict(filled(parity_root, case.entry("keys")), strict=True)
    student, fused = head(case.input("z0")), head(case.input("zf"))
    case.check("tokens0", student, atol=ATOL)
    case.check("tokensf", fused, atol=ATOL)
    case.check("pooled0", masked_mean(student), atol=ATOL)
    case.check("score_mean", clip_score(student, fused), atol=ATOL)
    case.check("score_sum", clip_score(student, fused, reduce="sum"), atol=ATOL)
    label = case.input("y")
    for text in list(case.entries["margin_loss"]):
        score = torch.from_numpy(case.arrays["score_mean"]).requires_grad_()
        loss = margin(score, label, margin=float(text))
        (slope,) = torch.autograd.grad(loss, score)
        case.check_entry(("margin_loss", text, "value"), loss, rtol=1e-5)
        torch.testing.assert_close(slope, torch.tensor(case.entry("margin_loss", text, "grad")), atol=1e-6, rtol=0)
    case.close()
