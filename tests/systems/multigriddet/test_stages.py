"""Whole stages on a tiny detector: freezing at each level, stored trunks, augmentation and several sizes."""

import json

import pytest
import torch

from commandline import gradatim, worked
from gradatim import GradatimError, find_system, run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.weights import read_weights
from tiny_multigriddet import MODEL, keras_file, parts, shapes_folder

TINY = f"model={MODEL}".replace("'", "")
SHAPES = "{root: shapes, shapes: {count: 10, validate_count: 4, size: 64, classes: [circle, square, triangle]}}"
QUICK = [
    TINY, f"defaults.data={SHAPES}", "defaults.batch_size=4", "defaults.accumulate=1", "stages.heads.epochs=3",
    "stages.neck.epochs=2", "stages.all.epochs=1", "stages.neck.data.augment=none", "stages.all.data.augment=none",
    "defaults.guards={nonfinite: stop}", "stages.heads.guards={}", "stages.neck.guards={}", "stages.all.guards={}",
]  # fmt: skip


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return keras_file(tmp_path_factory.mktemp("start") / "model5.h5", parts(), whole=True)


def plan(start, *changes):
    source = f"sources.model.checkpoint={start}"
    return override(read_plan_document("multigriddet/finetune"), [*QUICK, source, *changes])


def arrays(folder):
    return read_weights(folder / "model.safetensors").arrays


def events(folder, kind):
    found = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
    return [event for event in found if event["event"] == kind]


def test_stored_trunks_end_in_the_same_weights_to_the_bit(start, tmp_path):
    run(plan(start, "defaults.cache=off"), tmp_path / "live")
    run(plan(start, "defaults.cache=required", "stages.all.cache=off"), tmp_path / "kept")

    live, kept = arrays(tmp_path / "live"), arrays(tmp_path / "kept")
    assert live.keys() == kept.keys()
    worst = max(float((live[n] - kept[n]).abs().max() / live[n].abs().max().clamp_min(1e-12)) for n in live)
    assert worst <= 1e-5
    stored = {event["stage"]: event["values"] for event in events(tmp_path / "kept", "features")}
    assert {stage: [v for v in values if "." not in v] for stage, values in stored.items()} == {
        "heads": ["wide"],
        "neck": ["features"],
    }


@pytest.mark.parametrize("stage", ["heads", "neck"])
def test_features_of_pictures_that_change_are_refused_with_the_reason(stage, start, tmp_path):
    chosen = plan(start, f"stages.{stage}.data.augment={{flip: 0.5}}", f"stages.{stage}.cache=required")

    with pytest.raises(GradatimError, match=f"stage '{stage}'.*(random|differ|every epoch)"):
        run(chosen, tmp_path / "run")


def test_every_term_is_logged_at_every_stride(start, tmp_path):
    run(plan(start, "defaults.log_every=1"), tmp_path / "run")

    for event in events(tmp_path / "run", "step"):
        names = set(event["losses"])
        for term in ("location", "objectness", "anchor", "classification"):
            strides = [event["losses"][f"{term}/stride{stride}"] for stride in (32, 16, 8)]
            assert event["losses"][term] == pytest.approx(sum(strides), rel=1e-5)
        assert len(names) == 16


def test_frozen_parts_keep_every_bit_and_statistics_of_frozen_norms(start, tmp_path):
    run(plan(start), tmp_path / "run")

    first = read_weights(next(tmp_path.glob("run/01-*/weights.safetensors"))).arrays
    second = read_weights(next(tmp_path.glob("run/02-*/weights.safetensors"))).arrays
    saved = {f"{p}.{n}": a for p, part in parts().items() for n, a in part.state_dict().items()}
    for name, array in first.items():
        assert torch.equal(array, saved[name]) != name.startswith("predict."), name
    for name in ("neck.trunks.0.0.norm.running_mean", "pre_predict.convs.1.norm.running_var"):
        assert not torch.equal(second[name], saved[name])
    assert not any(name.startswith("backbone.") for name in second)


def test_every_augmentation_and_several_sizes_train(start, tmp_path):
    changes = ["stages.all.data.augment={preset: original, flip: 1}", "stages.all.data.sizes=[32, 96]"]
    record = run(plan(start, *changes), tmp_path / "run").stages["all"]
    assert record["trained_arrays_moved"] > 100


TERMS = ["location_terms", "objectness_terms", "anchor_terms", "class_terms"]
SPREADS = ["box_spread", "objectness_spread", "class_spread"]


def crowded():
    """Raw predictions of an image with four objects near each other."""
    torch.manual_seed(0)
    boxes = torch.tensor([[[3, 5, 27, 31, 0], [8, 9, 30, 33, 1], [40, 10.5, 52, 21, 2], [41, 12, 50, 22, 1]]])
    raw = {name: 1 + 0.3 * torch.randn(1, side, side, 10) for name, side in (("coarse", 2), ("middle", 4), ("fine", 8))}
    return {"raw": raw, "boxes": boxes, "boxes_mask": torch.ones(1, 4, dtype=torch.bool)}


@pytest.mark.parametrize("kind", ["sigmoid", "focal", "softmax_focal"])
def test_weights_of_classes_change_the_class_loss_alone(kind):
    built, sample = {name: part.eval() for name, part in parts().items()}, crowded()
    task = find_system("multigriddet").read_tasks["detect"]

    def terms(weights):
        values = sample if weights is None else {**sample, "class_weights": torch.tensor([weights])}
        found = task.compute(built, values, want=TERMS, options={"assess.classes": kind})
        return torch.stack([found[name] for name in TERMS])

    plain, weighted = terms(None), terms([1.0, 2.0, 0.5])
    assert torch.equal(plain, terms([1.0, 1.0, 1.0]))
    assert [not torch.equal(a, b) for a, b in zip(plain, weighted, strict=True)] == [
        name == "class_terms" for name in TERMS
    ]
    torch.testing.assert_close(terms([3.0, 3.0, 3.0])[-1], 3 * plain[-1])


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({"assess.geometry": "original"}, TERMS),
        ({"assess.object_scale": 2.0}, TERMS),
        ({"assess.no_object_scale": 2.0}, TERMS),
        ({"assess.ignore_above": 0.01}, TERMS),
        ({"assess.iou_objectness": True}, TERMS),
        ({"assess.iou_objectness": True, "assess.iou_power": 3.0}, TERMS),
        ({"assess.iou_objectness": True, "assess.iou_ratio": 0.5}, TERMS),
        ({"assess.ignore_above": 0.01, "assess.trainable_nms": 0.5}, TERMS),
        ({"assess.ignore_above": 0.01, "assess.trainable_nms": 0.5, "assess.trainable_nms_power": 1.0}, TERMS),
        ({"assess.box": "giou"}, TERMS),
        ({"assess.box": "diou"}, TERMS),
        ({"assess.box": "ciou"}, TERMS),
        ({"assess.classes": "focal"}, TERMS),
        ({"assess.classes": "softmax_focal"}, TERMS),
        ({"assess.smoothing": 0.1}, TERMS),
        ({"assess.normalization": ["positives"]}, TERMS),
        ({"assess.normalization": ["batch", "grid"]}, TERMS),
        ({"aim.encoding": "floor"}, TERMS),
        ({"aim.encoding": "transposed"}, TERMS),
        ({"aim.center_first": True}, TERMS),
        ({"agree.geometry": "original"}, SPREADS),
        ({"agree.frame": "raw"}, SPREADS),
        ({"agree.iou_power": 0.5}, SPREADS),
        ({"agree.least_iou": 0.5}, SPREADS),
        ({"agree.tolerance": 1.5}, SPREADS),
        ({"agree.window": 5, "agree.tolerance": 3.0}, SPREADS),
    ],
    ids=str,
)
def test_every_option_changes_its_losses(options, want):
    built, sample = {name: part.eval() for name, part in parts().items()}, crowded()
    task, seen = find_system("multigriddet").read_tasks["detect"], []
    # Options that only change another option are compared with that other one alone.
    before = dict(list(options.items())[:-1])
    for chosen in (before, options):
        found = task.compute(built, sample, want=want, options=chosen)
        assert all(found[name].shape == (3,) and torch.isfinite(found[name]).all() for name in want)
        seen.append(torch.stack([found[name] for name in want]))
    assert not torch.equal(*seen)


def test_another_number_of_classes_in_the_data_is_told_before_anything_runs(start, tmp_path):
    shapes_folder(tmp_path / "data", classes=("circle", "square"))
    answer = gradatim(
        "run", "multigriddet/finetune", *[w for c in QUICK for w in ("--set", c)], "--set",
        f"sources.model.checkpoint={start}", "--set", f"defaults.data={{root: {tmp_path / 'data'}}}", "-o",
        tmp_path / "run",
    )  # fmt: skip
    assert answer.code == 1
    assert "the data have 2 classes, the model 3" in answer.err
    assert not (tmp_path / "run").exists()


def test_a_model_for_other_classes_starts_its_heads_anew(start, tmp_path):
    anew = f"{{checkpoint: {start}, layout: keras, reinitialise: [.*]}}"
    source = [f"stages.heads.init.{part}={anew}" for part in ("pre_predict", "predict")]
    two = [
        "model.classes=2", "defaults.data.shapes.classes=[circle, square]", "stages.heads.train=[pre_predict, predict]"
    ]  # fmt: skip
    run(plan(start, *source, *two), tmp_path / "run")

    lineage = worked("lineage", str(tmp_path / "run" / "model.safetensors")).out
    assert "re-initialised" in lineage
