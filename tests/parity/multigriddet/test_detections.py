"""Decoding, the way back to the image, suppression and fusion; average precision; schedules."""

import numpy as np
import pytest
import torch

from gradatim.engine.optimizer import schedule_factor
from gradatim.plan.stage import Schedule, Training
from gradatim.systems.multigriddet.average_precision import (
    COCO_THRESHOLDS,
    Objects,
    average_precisions,
    legacy_figures,
    mean_precision,
)
from gradatim.systems.multigriddet.detections import decode, from_letterbox, fuse_boxes, suppress
from gradatim.systems.multigriddet.letterbox import Letterbox
from gradatim.systems.multigriddet.model import COCO_ANCHORS
from parity.multigriddet.support import DECODED, Folder

pytestmark = pytest.mark.parity

METRIC, RATE = 1e-6, 1e-9


@pytest.fixture(scope="module")
def folder(parity_root):
    return Folder(parity_root)


class Post:
    """The post-processing case: decoded predictions of one image, and plain boxes."""

    def __init__(self, folder):
        self.info, self.arrays = folder.json("postprocess"), folder.arrays("postprocess")
        self.pixels, self.source = tuple(self.info["input_shape"]), tuple(self.info["image_shape"])
        self.raw = [self.arrays.pop(f"p{n}") for n in range(3)]
        self.anchors = [torch.tensor(one) for one in COCO_ANCHORS]
        self.relative, self.scores, self.classes = decode(self.raw, self.anchors)
        self.back = from_letterbox(self.relative[0], Letterbox(self.source, self.pixels), published=True)

    def candidates(self):
        keep = self.scores[0] >= self.info["confidence"]
        boxes = torch.cat([self.back[:, :2], self.back[:, :2] + self.back[:, 2:]], -1)
        return boxes[keep], self.scores[0][keep], self.classes[0].argmax(-1)[keep]

    def whole(self, boxes):
        """Corners inside the image, to the nearest pixel."""
        height, width = self.source
        return (torch.minimum(boxes.clamp_min(0), torch.tensor([width, height] * 2)) + 0.5).floor().int()


def suppressed(boxes, scores, classes, kind, threshold):
    """Survivors of one list without regard to classes; `soft` gives them in the list's order."""
    order = scores.argsort(descending=True)
    found, kept = suppress(
        boxes[order][None], scores[order][None], classes[order][None],
        suppression=kind, threshold=threshold, by_class=False,
    )  # fmt: skip
    chosen, values = order[kept[0]], found[0][kept[0]]
    if kind == "soft":
        back = chosen.argsort()
        chosen, values = chosen[back], values[back]
    return chosen, values


def test_decoding_and_the_way_back(folder):
    post = Post(folder)
    decoded = torch.cat([post.relative, post.scores[..., None], post.classes], -1)
    torch.testing.assert_close(decoded, post.arrays.pop("decoded"), atol=DECODED, rtol=DECODED)
    corrected = post.arrays.pop("corrected")[0]
    torch.testing.assert_close(post.back, corrected[:, :4], atol=1e-3, rtol=DECODED)
    torch.testing.assert_close(decoded[0, :, 4:], corrected[:, 4:], atol=DECODED, rtol=DECODED)
    boxes, scores, classes = decode(post.raw, post.anchors, exclusive=False, product=False)
    torch.testing.assert_close(
        torch.cat([boxes, scores[..., None], classes], -1), post.arrays.pop("decoded_sigmoid_no_rescore"),
        atol=DECODED, rtol=DECODED,
    )  # fmt: skip


def test_suppression_and_fusion_from_end_to_end(folder):
    post = Post(folder)
    assert {*post.info["methods"]} == {"diou", "cluster", "soft", "wbf"}
    boxes, scores, classes = post.candidates()
    results = {}
    for kind in ("diou", "cluster", "soft"):
        chosen, values = suppressed(boxes, scores, classes, kind, post.info["nms_threshold"])
        results[kind] = boxes[chosen], values, classes[chosen]
    results["wbf"] = fuse_boxes([boxes], [scores], [classes], threshold=post.info["nms_threshold"])
    for kind, (found, values, labels) in results.items():
        assert torch.equal(post.whole(found), post.arrays.pop(f"{kind}_boxes")), kind
        assert torch.equal(labels.int(), post.arrays.pop(f"{kind}_classes")), kind
        torch.testing.assert_close(values, post.arrays.pop(f"{kind}_scores"), atol=1e-6, rtol=DECODED)
    chosen, values = suppressed(boxes, scores, classes, "diou", post.info["nms_threshold"])
    four = boxes[chosen][:4]
    torch.testing.assert_close(
        torch.cat([four[:, :2], four[:, 2:] - four[:, :2]], -1), post.arrays.pop("top4_xywh"), atol=1e-3, rtol=DECODED
    )
    torch.testing.assert_close(values[:4], post.arrays.pop("top4_scores"), atol=1e-6, rtol=DECODED)
    assert torch.equal(classes[chosen][:4].int(), post.arrays.pop("top4_classes"))


def test_suppression_and_fusion_of_plain_boxes(folder):
    arrays = Post(folder).arrays
    xywh, classes, scores = (arrays.pop(f"nb_{name}") for name in ("xywh", "classes", "scores"))
    boxes = torch.cat([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], -1)
    for kind in ("standard", "diou", "cluster", "soft"):
        chosen, values = suppressed(boxes, scores, classes, {"standard": "greedy"}.get(kind, kind), 0.45)
        assert torch.equal(xywh[chosen], arrays.pop(f"nms_{kind}_boxes")), kind
        assert torch.equal(classes[chosen], arrays.pop(f"nms_{kind}_classes")), kind
        torch.testing.assert_close(values, arrays.pop(f"nms_{kind}_scores"), atol=1e-6, rtol=DECODED)
    for confidence in ("avg", "max"):
        parts = [[one[:25], one[25:]] for one in (boxes, scores, classes)]
        found, values, labels = fuse_boxes(*parts, weights=[1, 2], threshold=0.55, confidence=confidence)
        torch.testing.assert_close(
            torch.cat([found[:, :2], found[:, 2:] - found[:, :2]], -1), arrays.pop(f"wbf_{confidence}_boxes"),
            atol=1e-4, rtol=DECODED,
        )  # fmt: skip
        torch.testing.assert_close(values, arrays.pop(f"wbf_{confidence}_scores"), atol=1e-6, rtol=DECODED)
        assert torch.equal(labels, arrays.pop(f"wbf_{confidence}_classes"))
    used = ("decoded", "corrected", "diou_", "cluster_", "soft_", "wbf_", "top4_")
    assert not [name for name in arrays if not name.startswith(used)]


def objects(entries):
    return Objects(
        images=np.array([one["image_id"] for one in entries]),
        boxes=np.array([one["bbox"] for one in entries]),
        classes=np.array([one["class"] for one in entries]),
        scores=np.array([one["score"] for one in entries]) if "score" in entries[0] else None,
    )


def test_average_precision_of_the_original_and_of_coco(folder):
    info = folder.json("metrics")
    truths, found = objects(info["ground_truths"]), objects(info["predictions"])
    results, count = info["results"], 0
    coco = results.pop("pycocotools_stats")
    ours = mean_precision(average_precisions(truths, found))
    np.testing.assert_allclose([ours.mean(), ours[0], ours[5]], coco[:3], atol=METRIC)
    for name, expected in results.items():
        method, cached = name.split("_")
        figures = legacy_figures(truths, found, points=f"legacy_{method}", cached=cached == "cached")
        mean = figures.by_threshold
        pairs = [(mean.mean(), expected["mAP"]), (mean[0], expected["mAP50"]), (mean[5], expected["mAP75"])]
        pairs += [(mean[n], expected["per_iou"][f"mAP{t:.2f}"]) for n, t in enumerate(COCO_THRESHOLDS)]
        for label, by_threshold in figures.by_class.items():
            stated = expected["per_class"][f"class_{label}"]
            pairs += [(by_threshold[n], stated[f"AP{t:.2f}"]) for n, t in enumerate(COCO_THRESHOLDS)]
            pairs.append((by_threshold.mean(), stated["AP"]))
        for size, (whole, first) in figures.sizes.items():
            pairs += [(whole, expected[size]), (first, expected[f"{size}50"])]
        np.testing.assert_allclose(*zip(*pairs, strict=True), atol=METRIC)
        assert len(expected["per_class"]) == len(figures.by_class)
        assert (expected["num_predictions"], expected["num_ground_truths"]) == (len(found), len(truths))
        count += len(pairs)
    assert count >= 200
    print(f"{count} figures of the original, equal to {METRIC}")


def test_schedules(folder):
    cases = folder.json("misc")["cosine_lr"]
    for name, expected in cases.items():
        told = {key: float(value) for key, _, value in (item.partition("=") for item in name.split(","))}
        chosen = {"warmup": int(told["warmup"]), "start": told["factor"], "least": told["min"]}
        training = Training(lr=told["initial"], schedule=Schedule.model_validate({"epoch_cosine": chosen}))
        per_epoch = 7
        factor = schedule_factor(training, steps=int(told["total"]) * per_epoch, per_epoch=per_epoch)
        for epoch, rate in enumerate(expected):
            for step in (epoch * per_epoch, (epoch + 1) * per_epoch - 1):
                assert abs(told["initial"] * factor(step, told["initial"]) - rate) <= RATE
    assert len(cases) >= 3
