"""Targets, overlaps, every case of the losses in both geometries, masks, and four steps at each freeze level."""

import pytest
import torch

from gradatim.systems.multigriddet import focal
from gradatim.systems.multigriddet.assessment import Agreement, Assessing, assess, consensus, overlaps
from gradatim.systems.multigriddet.geometry import common_center_iol, offset, offset_inverse
from gradatim.systems.multigriddet.model import MultiGridDetSettings
from gradatim.systems.multigriddet.parts.backbone import SCALES, STRIDES
from gradatim.systems.multigriddet.targets import encode
from parity.multigriddet.support import (
    GRADIENT,
    LOSS,
    STEP,
    TARGET,
    Folder,
    anchors_of,
    channels_first,
    scales_of,
)
from parity.multigriddet.test_networks import loaded

pytestmark = pytest.mark.parity

ENCODINGS = {"targets_numpy": "floor", "targets_exact_centre": "exact", "targets_tfdata": "transposed"}
OPTIONS = {
    "use_iou_aware_objectness": "iou_objectness",
    "iou_objectness_power": "iou_power",
    "iou_objectness_ratio": "iou_ratio",
    "trainable_nms_weight": "trainable_nms",
    "trainable_nms_power": "trainable_nms_power",
    "label_smoothing": "smoothing",
    "ignore_thresh": "ignore_above",
    "loss_normalization": "normalization",
}
AGREEMENT = {
    "consensus_iou_power": "iou_power",
    "consensus_min_iou": "least_iou",
    "consensus_stop_gradient": "fixed_mean",
}
ELSEWHERE = {
    "loss_option", "coord_scale", "object_scale", "no_object_scale", "class_scale", "anchor_scale", "use_focal_loss",
    "use_consensus_loss", "class_weights",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(parity_root):
    return Folder(parity_root)


@pytest.mark.parametrize("name", ENCODINGS)
def test_targets(name, folder):
    info, arrays = folder.json("targets"), folder.arrays(name)
    height, width = info["input_shape"]
    grids = [(height // stride, width // stride) for stride in STRIDES]

    found = encode(
        arrays.pop("boxes"), grids, (height, width), anchors_of(info), info["num_classes"], encoding=ENCODINGS[name]
    )

    for number, scale in enumerate(SCALES):
        torch.testing.assert_close(found.cells[scale], arrays.pop(f"y{number}"), atol=TARGET, rtol=0)
    assert not arrays


def test_overlaps_at_a_common_center(folder):
    arrays = folder.arrays("iol")
    found = common_center_iol(arrays["boxes_wh"], arrays["anchors"], 1e-8)
    torch.testing.assert_close(found, arrays["iol"], atol=TARGET, rtol=0)


def test_the_activation_of_offsets_and_its_inverse(folder):
    arrays = folder.arrays("xy_activation")
    torch.testing.assert_close(offset(arrays["x"]), arrays["y"], atol=1e-6, rtol=0)
    inverse = offset_inverse(offset(arrays["x"].double())[10:71])
    # The file's inverse is that of its own rounded values, which the flat ends of the curve spread.
    torch.testing.assert_close(inverse.float(), arrays["inverse_of_y"], atol=1e-3, rtol=0)
    torch.testing.assert_close(inverse, arrays["x"][10:71].double(), atol=1e-6, rtol=0)


def scaled(options):
    return {name: options.get(name, 1.0) for name in ("coord_scale", "object_scale", "anchor_scale", "class_scale")}


def computed(scales, options, geometry):
    """Components as the original's, and the total."""
    assert not options.keys() - OPTIONS.keys() - AGREEMENT.keys() - ELSEWHERE
    weights = scaled(options)
    assessing = Assessing(
        geometry=geometry,
        object_scale=weights["object_scale"],
        no_object_scale=options.get("no_object_scale", 1.0),
        classes="focal" if options.get("use_focal_loss") else "sigmoid",
        class_weights=torch.tensor(options["class_weights"]) if options.get("class_weights") else None,
        **{OPTIONS[name]: value for name, value in options.items() if name in OPTIONS},
    )
    agreement = {AGREEMENT[name]: value for name, value in options.items() if name in AGREEMENT}
    agreeing = Agreement(geometry=geometry, frame="raw", **agreement)
    terms = [assess(scale, assessing) for scale in scales]
    shared = [consensus(scale, agreeing) for scale in scales]
    found = {
        name: sum(getattr(term, name) for term in terms)
        for name in ("location", "objectness", "anchor", "classification")
    }
    found |= {name: sum(each[n] for each in shared) for n, name in enumerate(("c_coord", "c_obj", "c_class"))}
    total = weights["coord_scale"] * found["location"] + weights["object_scale"] * found["objectness"]
    # The original weighs the anchor's loss twice.
    total = total + weights["anchor_scale"] ** 2 * found["anchor"] + weights["class_scale"] * found["classification"]
    if options.get("use_consensus_loss"):
        total = total + 0.5 * found["c_coord"] + 0.5 * found["c_obj"] + 0.3 * found["c_class"]
    return found, total


def test_every_case_of_the_losses(folder):
    info, inputs = folder.json("loss_values"), folder.arrays("loss_inputs")
    told, count, worst = [inputs[f"t{n}"] for n in range(3)], 0, 0.0
    for name, case in info["cases"].items():
        if "options" not in case:
            assert name.endswith("_as_wired"), name  # The original raises here; ours compares decoded boxes.
            assert "error" in case
            continue
        for geometry in ("original", "corrected"):
            expected = case[geometry]
            raw = [inputs[f"p{n}"].clone().requires_grad_() for n in range(3)]
            found, total = computed(scales_of(raw, told, anchors_of(info)), case["options"], geometry)
            total.backward()
            pairs = [(float(total.detach()), expected["total"], LOSS)]
            pairs += [(float(found[key].detach()), value, LOSS) for key, value in expected["components"].items()]
            pairs += [
                (float(one.grad.norm()), value, GRADIENT) for one, value in zip(raw, expected["grad_norm"], strict=True)
            ]
            for ours, theirs, tolerance in pairs:
                assert abs(ours - theirs) <= tolerance * abs(theirs), f"{name}, {geometry}: {ours} != {theirs}"
                worst = max(worst, abs(ours - theirs) / max(abs(theirs), 1e-12))
                count += 1
    assert count >= 200
    print(f"{count} numbers of the losses, largest relative difference {worst:.1e}")


def test_masks_overlaps_and_gradients(folder):
    info, inputs, arrays = folder.json("loss_values"), folder.arrays("loss_inputs"), folder.arrays("loss_masks")
    options = info["cases"]["option2_guide"]["options"]
    for geometry in ("original", "corrected"):
        raw = [inputs[f"p{n}"].clone().requires_grad_() for n in range(3)]
        scales = scales_of(raw, [inputs[f"t{n}"] for n in range(3)], anchors_of(info))
        computed(scales, options, geometry)[1].backward()
        for n, scale in enumerate(scales):
            found = overlaps(scale, geometry, 0.5)
            own = arrays.pop(f"{geometry}_assigned_iou{n}")[..., 0]
            assert torch.equal(found.ignored.float(), arrays.pop(f"{geometry}_ignore{n}")[..., 0])
            torch.testing.assert_close(found.own, own[scale.has_object], atol=1e-6, rtol=LOSS)
            torch.testing.assert_close(
                found.highest, arrays.pop(f"{geometry}_max_iou{n}")[..., 0], atol=1e-6, rtol=LOSS
            )  # fmt: skip
            gradient = arrays.pop(f"{geometry}_grad{n}")
            torch.testing.assert_close(raw[n].grad, gradient, atol=1e-5 * float(gradient.abs().max()), rtol=GRADIENT)
    assert not arrays


def test_focal_losses(folder):
    arrays = folder.arrays("focal_losses")
    logits = arrays.pop("logits").requires_grad_()
    binary, one_hot, overlap = (arrays.pop(name) for name in ("binary", "one_hot", "iol_conf"))
    for name, loss in {
        "sigmoid": lambda: focal.sigmoid_focal(binary, logits),
        "inverse": lambda: focal.inverse_focal(binary, logits),
        "softmax": lambda: focal.softmax_focal(one_hot, logits),
        "iol": lambda: focal.overlap_focal(binary, logits, overlap),
    }.items():
        logits.grad = None
        found = loss()
        found.sum().backward()
        torch.testing.assert_close(found.detach(), arrays.pop(name), atol=1e-6, rtol=LOSS)
        torch.testing.assert_close(logits.grad, arrays.pop(f"{name}_grad"), atol=1e-6, rtol=GRADIENT)
    assert not arrays


def test_losses_of_boxes(folder):
    arrays = folder.arrays("iou_losses")
    truth, found = arrays.pop("true_cxcywh"), arrays.pop("pred_cxcywh").requires_grad_()
    for kind in ("giou", "diou", "ciou"):
        found.grad = None
        loss = focal.box_loss(kind, truth, found)
        loss.sum().backward()
        torch.testing.assert_close(loss.detach(), arrays.pop(kind), atol=1e-6, rtol=LOSS)
        torch.testing.assert_close(found.grad, arrays.pop(f"{kind}_grad"), atol=1e-6, rtol=GRADIENT)
    assert not arrays


class KerasAdam:
    """Adam whose epsilon stands beside the uncorrected root, as in Keras."""

    def __init__(self, parameters, lr):
        self.parameters, self.lr, self.step_number = list(parameters), lr, 0
        self.first = [torch.zeros_like(one) for one in self.parameters]
        self.second = [torch.zeros_like(one) for one in self.parameters]

    @torch.no_grad()
    def step(self):
        self.step_number += 1
        rate = self.lr * (1 - 0.999**self.step_number) ** 0.5 / (1 - 0.9**self.step_number)
        for one, first, second in zip(self.parameters, self.first, self.second, strict=True):
            first.lerp_(one.grad, 0.1)
            second.lerp_(one.grad.square(), 0.001)
            one.sub_(rate * first / (second.sqrt() + 1e-7))
            one.grad = None


LEVELS = {0: ("backbone", "neck", "pre_predict", "predict"), 1: ("neck", "pre_predict", "predict"), 2: ("predict",)}


@pytest.mark.slow
@pytest.mark.parametrize("level", LEVELS)
def test_four_steps_at_each_freeze_level(level, folder):
    info, arrays = folder.json("train_step"), folder.arrays("train_step")
    expected = info["results"][f"freeze_level_{level}"]
    keys = {
        name: shape if not name.startswith(("conv2d_55", "conv2d_60", "conv2d_65", "batch_normalization_55",
                                            "batch_normalization_60", "batch_normalization_65", "predict_conv"))
        else None for name, shape in folder.json("keys_full")["keys"].items()
    }  # fmt: skip
    settings = MultiGridDetSettings(classes=info["num_classes"])
    arrays_by_rule = folder.rule(_resized(keys, settings))
    parts = loaded(settings, arrays_by_rule)
    height, width = info["input"]
    grids = [(height // stride, width // stride) for stride in STRIDES]
    made = encode(arrays["boxes"], grids, (height, width), anchors_of(info), settings.count, encoding="floor")
    for n, scale in enumerate(SCALES):
        torch.testing.assert_close(made.cells[scale], arrays[f"t{n}"], atol=TARGET, rtol=0)
    told, x = [arrays[f"t{n}"] for n in range(3)], channels_first(arrays["x"])
    options = Assessing(geometry="original")

    def loss():
        raw = parts["predict"](parts["pre_predict"](parts["neck"](parts["backbone"](x))))
        total = 0.0
        for scale in scales_of([raw[name] for name in SCALES], told, anchors_of(info)):
            terms = assess(scale, options)
            total = total + 5 * terms.location + terms.objectness + terms.anchor + terms.classification
        return total

    with torch.no_grad():
        in_eval = float(loss())
    for name, part in parts.items():
        part.train(name in LEVELS[level])
        part.requires_grad_(name in LEVELS[level])
    trained = [one for name in LEVELS[level] for one in parts[name].parameters()]
    optimizer, found, norms = KerasAdam(trained, 1e-4), [], {}
    for number in range(4):
        total = loss()
        total.backward()
        found.append(float(total.detach()))
        if number == 0:
            norms = {
                name: float(torch.stack([one.grad.norm() for one in parts[name].parameters()]).norm())
                for name in LEVELS[level]
            }
        optimizer.step()

    def near(ours, theirs, tolerance):
        assert abs(ours - theirs) <= tolerance * abs(theirs), f"{ours} != {theirs}"

    assert sum(one.numel() for one in trained) == expected["trainable_params"]
    assert len(trained) == expected["trainable_arrays"]
    near(in_eval, expected["loss_eval_mode"], LOSS)
    near(found[0], expected["loss_training_mode"], STEP)
    for name, value in expected["grad_norm_by_part"].items():
        near(norms[name], value, 1e-2)
    for number, (ours, theirs) in enumerate(zip(found, expected["losses_of_4_adam_steps"], strict=True)):
        # With all of it trained, rounding grows: ours in double precision, in single, and in single with another number
        # of threads are 1 % apart at the third step and 2 % at the fourth.
        near(ours, theirs, STEP if number < 2 or level else 3e-2)
    print(f"level {level}: {found} against {expected['losses_of_4_adam_steps']}")


def _resized(keys, settings):
    """Shapes of the arrays that follow the number of classes."""
    found = dict(keys)
    for n, (number, wide, half) in enumerate(zip((55, 60, 65), settings.wide, settings.heads, strict=True)):
        found[f"conv2d_{number}/kernel:0"] = [3, 3, half // 2, wide]
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            found[f"batch_normalization_{number}/{name}:0"] = [wide]
        outside = 5 + len(settings.anchors[n]) + settings.count
        found[f"predict_conv_{n + 1}/kernel:0"] = [1, 1, wide, outside]
        found[f"predict_conv_{n + 1}/bias:0"] = [outside]
    return found
