"""The original's training and evaluation runs, repeated with our parts and losses and a plain loop."""

import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradatim.systems.bombkd.checkpoints import read_checkpoint
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.losses import LOSSES, classification, margin, pooled, sparsity
from gradatim.systems.bombkd.metrics import accuracy, closeness
from gradatim.systems.bombkd.model import PARTS, BombKDSettings, sizes_of
from gradatim.systems.bombkd.parts.kinds import convert_all, kind_in_checkpoint
from gradatim.systems.bombkd.parts.projection import clip_score
from gradatim.weights import transfer, translate
from parity.bombkd.support import Case, filled, load

pytestmark = pytest.mark.parity
PRINTED = 6e-5
"""Numbers are printed with four decimals."""


@pytest.fixture
def case(parity_root) -> Case:
    return Case(parity_root, "training")


@pytest.fixture
def features(parity_root) -> Case:
    return Case(parity_root, "features_expected")


@pytest.fixture
def folder(parity_root) -> Path:
    return parity_root / "bombkd" / "format_sample"


def test_every_kind_of_run_is_repeated(case):
    assert set(case.entries) == {"note", "converters", "fusion", "evaluate", "vad"}


def sequences(features: Case, name: str) -> list[Tensor]:
    """Every clip's tokens of the student (`stu`) or of a teacher."""
    prefix = name.replace("/", "_")
    return [features.input(f"{prefix}_{i}") for i in range(len(features.arrays["labels"]))]


def padded(clips: list[Tensor]) -> tuple[Tensor, Tensor]:
    """A batch with zeros behind the shorter clips, and its mask."""
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(clip), dtype=torch.bool) for clip in clips], batch_first=True)
    return nn.utils.rnn.pad_sequence(clips, batch_first=True), mask


def batches(count: int, size: int) -> Iterator[slice]:
    """The set in its order."""
    return (slice(i, i + size) for i in range(0, count, size))


def numbers(line: str) -> list[float]:
    """All numbers of a printed line."""
    return [float(found) for found in re.findall(r"-?\d+\.\d+", line)]


def check_sums(case: Case, place: tuple[str, ...], arrays: dict[str, Tensor], *, rtol: float, skip: str = "-") -> None:
    """Compare sums, or sums of absolute values, of all arrays that the file lists."""
    listed = case.entry(*place)
    assert set(listed) == set(arrays)
    for name, expected in listed.items():
        if re.search(skip, name):
            continue
        array = arrays[name].detach().double()
        found = float((array.abs() if place[-1] == "param_abs" else array).sum())
        size = float(array.abs().sum())
        assert abs(found - expected) <= rtol * size + 1e-7, f"{place}, {name}: {found} != {expected}"
        case.worst_number = max(case.worst_number, abs(found - expected) / size)
        case.numbers += 1


def originals(parts: dict[str, nn.Module], layout: str, keys: list[str]) -> dict[str, Tensor]:
    """Arrays of trained parts under the original's names."""
    own = {f"{part}.{name}": array for part, module in parts.items() for name, array in module.state_dict().items()}
    made = translate(LAYOUTS[layout], keys).made
    return {how.sources[0]: own[name] for name, how in made.items()}


def converters_of(run: dict[str, Any], keys: list[str]) -> nn.ModuleDict:
    """Fresh converters of a recorded run."""
    widths = {
        name: (run["d_out_map"] or {}).get(name, run["d_out"]) for name in dict.fromkeys(k.split(".")[0] for k in keys)
    }
    settings = BombKDSettings(
        student={"dim": run["d_in"]},
        teachers={name: {"dim": width} for name, width in widths.items()},
        converter=kind_in_checkpoint(run["checkpoint_fields"]["kind"]),
        target_lens=run["teacher_lens"] or {},
        batch_stats="batch",
    )
    return PARTS["converters"](settings)


def test_converters_learn_as_the_originals(case, features, parity_root):
    names = list(case.entries["converters"])
    assert names
    for name in names:
        run = {
            key: case.entry("converters", name, key) for key in case.entries["converters"][name] if "param" not in key
        }
        keys = list(run["keys"])
        converters = converters_of(run, keys)
        load(filled(parity_root, run["keys"]), {"converters": converters}, "converters")
        chaotic = kind_in_checkpoint(run["checkpoint_fields"]["kind"]) == "a"
        told = train_converters(converters, features, run, first_only=chaotic)
        compare_printed(run["printed"], told)
        if chaotic:  # its later steps amplify rounding
            case.entry("converters", name)
        else:
            arrays = originals({"converters": converters}, "converters", keys)
            for kind in ("param_sum", "param_abs"):
                check_sums(case, ("converters", name, kind), arrays, rtol=1e-6, skip=r"norm0\.weight$")
        print(f"converters {name}: sums differ by {case.worst_number:.1e} of the absolute sums at most")


def train_converters(converters: nn.ModuleDict, features: Case, run, *, first_only: bool) -> list[list[float]]:
    """Train as recorded; what each printed line says."""
    student = sequences(features, "stu")
    teachers = {name: sequences(features, name) for name in converters}
    optimizer = torch.optim.AdamW(converters.parameters(), lr=run["lr"], weight_decay=0.01)
    told = []
    for _ in range(run["epochs"]):
        losses, figures = [], []
        for at in batches(len(student), run["batch"]):
            tokens, mask = padded(student[at])
            targets = {name: padded(clips[at]) for name, clips in teachers.items()}
            values = (
                convert_all(converters, tokens)[0],
                {name: target for name, (target, _) in targets.items()},
                None,
                {name: valid for name, (_, valid) in targets.items()},
                tokens,
                mask,
            )
            loss = sum(
                weight * LOSSES[name](*values, pool="original")
                for name, weight in run["loss_weights"].items()
                if weight
            )
            losses.append(float(loss.detach()))
            figures += [(len(tokens), closeness(x.detach(), y)) for x, y in pooled(*values, pool="original")]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if first_only:
                return [[losses[0]]]
        told.append([losses[0]])
        count = sum(size for size, _ in figures)
        means = [sum(size * float(f[key]) for size, f in figures) / count for key in ("nmae", "cosine", "relative")]
        told.append([sum(losses) / len(losses), *means])
    return told


def compare_printed(lines: list[str], told: list[list[float]]) -> None:
    """Each line's numbers begin with ours."""
    for line, ours in zip(lines, told, strict=False):
        for expected, found in zip(numbers(line), ours, strict=False):
            assert found == pytest.approx(expected, abs=PRINTED), f"{line}: {ours}"
    assert told


def loaded(path: Path, names: tuple[str, ...], **more: Any) -> tuple[dict[str, nn.Module], BombKDSettings]:
    """Parts of a file of the original, every array of which is explained."""
    checkpoint = read_checkpoint(path)
    settings = BombKDSettings(**{**checkpoint.settings, **more})
    parts = {name: PARTS[name](settings).eval() for name in names}
    accounts = transfer(checkpoint.weights, parts, layout=LAYOUTS[checkpoint.layout])
    assert all(account.complete for account in accounts)
    return parts, settings


def fuse(converters: nn.ModuleDict, fusion: nn.Module, tokens: Tensor):
    """The way from the student's tokens to class scores, padding counted as data as in the original."""
    translated, _ = convert_all(converters, tokens)
    return fusion(tokens, list(translated.values()))


def test_fusions_learn_as_the_originals(case, features, folder, parity_root):
    names = list(case.entries["fusion"])
    assert names
    for name in names:
        run = {key: case.entry("fusion", name, key) for key in case.entries["fusion"][name] if key != "param_sum"}
        parts, told = loaded(folder / run["converters"], ("converters",))
        teachers = [(key, parts["converters"][key]) for key in run["fields"]["teacher_keys"]]
        settings = BombKDSettings(
            student={"dim": run["fields"]["feat_dim"]},
            teachers={key: told.teachers[key] for key, _ in teachers},
            classes=run["classes"],
            head="advanced" if run["advance_cls_head"] else "linear",
        )
        fusion = PARTS["fusion"](settings)
        for module in fusion.modules():
            if isinstance(module, nn.Dropout):
                module.p = 0.0
        load(filled(parity_root, run["keys"]), {"fusion": fusion}, "fusion")
        compare_printed(run["printed"], train_fusion(parts["converters"], fusion, features, run))
        arrays = originals({"fusion": fusion}, "fusion", list(run["keys"]))
        check_sums(case, ("fusion", name, "param_sum"), arrays, rtol=1e-6)
        print(f"fusion {name}: sums differ by {case.worst_number:.1e} of the absolute sums at most")
        (saved,) = (folder / f"fusion_{name}").glob("*.pt")
        stored, _ = loaded(saved, ("fusion",))
        for array, ours in stored["fusion"].state_dict().items():
            torch.testing.assert_close(fusion.state_dict()[array], ours, atol=1e-5, rtol=1e-5)


def train_fusion(converters: nn.ModuleDict, fusion: nn.Module, features: Case, run) -> list[list[float]]:
    """Train as recorded, the whole set in one batch; what each printed line says."""
    clips = sequences(features, "stu")
    label = features.input("labels")
    assert len(clips) <= run["batch"]
    tokens, _ = padded(clips)
    optimizer = torch.optim.AdamW(fusion.parameters(), lr=run["lr"], weight_decay=0.01)
    told = []
    for _ in range(run["epochs"]):
        with torch.no_grad():
            translated = list(convert_all(converters, tokens)[0].values())
        _, gates, logits = fusion(tokens, translated)
        loss = classification(logits, label) + 1e-3 * sparsity(gates)
        scores = logits.detach()
        told.append([round(float(loss.detach()), 3), *(float(accuracy(scores, label, k)) for k in (1, 5))])
        told[-1][1:] = [round(value, 2) for value in told[-1][1:]]
        told.append([float(value) for value in gates.detach().mean(dim=(0, 1))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return told


def test_checkpoints_evaluate_as_the_originals(case, features, folder):
    evaluations = case.entry("evaluate")
    pairs = {name: case.entry("fusion", name, "converters") for name in case.entries["fusion"]}
    label = features.input("labels")
    clips = sequences(features, "stu")
    seen = 0
    for name, lines in evaluations.items():
        if name == "pipeline_logits":
            continue
        run, size = re.fullmatch(r"(.+)_batch(\d+)", name).groups()
        converters = loaded(folder / pairs[run], ("converters",))[0]["converters"]
        (path,) = (folder / f"fusion_{run}").glob("*.pt")
        fusion = loaded(path, ("fusion",))[0]["fusion"]
        with torch.no_grad():
            logits = torch.cat(
                [fuse(converters, fusion, padded(clips[at])[0]).logits for at in batches(len(clips), int(size))]
            )
        found = [round(float(accuracy(logits, label, k)), 2) for k in (1, 5)]
        assert found == numbers(lines[0]), name
        seen += 1
    assert seen == len(evaluations) - 1


def test_the_pipelines_logits_are_the_originals(case, folder, parity_root):
    stored = Case(parity_root, "pipeline_logits")
    told = case.entry("evaluate", "pipeline_logits")
    names = re.findall(r"converters_\w+|fusion_\w+", told["note"])
    converters_path, fusion_path = (next((folder / name).glob("*.pt")) for name in names)
    converters = loaded(converters_path, ("converters",))[0]["converters"]
    fusion = loaded(fusion_path, ("fusion",))[0]["fusion"]
    x = stored.input("x")
    lengths = [int(clip.abs().sum(dim=1).gt(0).sum()) for clip in x]
    with torch.no_grad():
        whole = fuse(converters, fusion, x).logits
        single = torch.cat(
            [fuse(converters, fusion, clip[None, :n]).logits for clip, n in zip(x, lengths, strict=True)]
        )
    stored.check("logits_batch", whole, atol=2e-5)
    stored.check("logits_single", single, atol=2e-5)
    assert float((whole - single).abs().max()) == pytest.approx(told["max_abs_diff"], abs=1e-4)
    assert int((whole.argmax(1) != single.argmax(1)).sum()) == told["argmax_changed"]
    stored.close()
    check_masked(converters_path, fusion, x, lengths, single)


def check_masked(path: Path, fusion: nn.Module, x: Tensor, lengths: list[int], single: Tensor) -> None:
    """With a clip's own statistics and masks, the padded batch gives each clip what it gets alone."""
    converters = loaded(path, ("converters",), batch_stats="clip")[0]["converters"]
    mask = torch.arange(x.shape[1]) < torch.tensor(lengths).unsqueeze(1)
    with torch.no_grad():
        translated, masks = convert_all(converters, x.masked_fill(~mask.unsqueeze(2), 9.0), mask)
        own = [None if masks is None else masks[name] for name in translated]
        logits = fusion(x, list(translated.values()), mask, own).logits
    torch.testing.assert_close(logits, single, atol=2e-5, rtol=0)


class Records(pickle.Unpickler):
    """Reads records of arrays and plain values, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        assert module.startswith("numpy"), f"{module}.{name}"
        return super().find_class(module, name)


def test_anomaly_scores_are_the_originals(case, folder, parity_root):
    with (folder / "vad_features.pkl").open("rb") as file:
        records = Records(file).load()
    tokens, _ = padded([torch.from_numpy(record["student"]) for record in records])
    label = torch.tensor([record["label"] for record in records])
    names = list(case.entries["vad"])
    assert names
    for name in names:
        run = {key: case.entry("vad", name, key) for key in case.entries["vad"][name] if key != "param_sum"}
        check_anomaly(case, name, run, folder, tokens, label)
        trained = train_anomaly(run, folder, parity_root, tokens, label)
        for group, part in (("fusion", "fusion"), ("proj", "projection")):
            keys = [f"{group}.{key}" for key in run["keys"][group]]
            arrays = originals({part: trained[part]}, "anomaly", keys)
            plain = {key.removeprefix(f"{group}."): array for key, array in arrays.items()}
            check_sums(case, ("vad", name, "param_sum", group), plain, rtol=2e-6)
        print(f"anomaly scores {name}: sums differ by {case.worst_number:.1e} of the absolute sums at most")


def anomaly_file(run, name: str, folder: Path):
    """The file of a run, and parts with its weights; its converters are those that it names, or its own."""
    (path,) = (folder / f"vad_{name}").glob("*.pt")
    checkpoint = read_checkpoint(path)
    groups = {key.split(".")[0] for key in checkpoint.weights.arrays}
    assert {*checkpoint.fields, *groups} == set(run["fields"])
    names = ("fusion", "projection", *(["converters"] if "translators_state_dict" in groups else []))
    parts, _ = loaded(path, names)
    if "converters_ckpt" in checkpoint.fields:
        parts |= loaded(folder / checkpoint.fields["converters_ckpt"], ("converters",))[0]
    return parts


def anomaly(parts: dict[str, nn.Module], tokens: Tensor) -> Tensor:
    """Scores of clips, padding counted as data as in the original."""
    translated, _ = convert_all(parts["converters"], tokens)
    fused = parts["fusion"](tokens, list(translated.values())).tokens
    return clip_score(parts["projection"](tokens), parts["projection"](fused))


def check_anomaly(case: Case, name: str, run, folder: Path, tokens: Tensor, label: Tensor) -> None:
    """Scores by the stored file."""
    parts = anomaly_file(run, name, folder)
    with torch.no_grad():
        scores = anomaly(parts, tokens)
    told = run.get("true_scores_in_clip_order") or [item["score"] for item in run["scores"]["items"]]
    assert [item["label"] for item in run["scores"]["items"]] == label.tolist()
    torch.testing.assert_close(scores, torch.tensor(told), atol=2e-5, rtol=0)


def train_anomaly(run, folder: Path, root: Path, tokens: Tensor, label: Tensor) -> dict[str, nn.Module]:
    """Train as recorded, from weights by rule."""
    arrays = {
        f"{group}.{key}": array
        for group, keys in run["keys"].items()
        for key, array in filled(root, keys, "" if group == "translators_state_dict" else f"{group}/").items()
    }
    sizes = sizes_of(shapes_of(arrays), {})
    settings = BombKDSettings(**sizes, batch_stats="batch")
    names = ["fusion", "projection", *(["converters"] if "converter" in sizes else [])]
    parts = {name: PARTS[name](settings) for name in names}
    load(arrays, parts, "anomaly")
    learning = [*parts.values()]
    if "converters" not in parts:
        parts |= loaded(folder / run["options"]["converters_ckpt"], ("converters",))[0]
    if run["options"].get("freeze_translators"):
        learning = [parts["fusion"], parts["projection"]]
        parts["converters"].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for part in learning for p in part.parameters()], lr=run["lr"], weight_decay=0.01)
    assert len(tokens) <= run["batch"]
    for _ in range(run["epochs"]):
        optimizer.zero_grad()
        margin(anomaly(parts, tokens), label).backward()
        optimizer.step()
    return parts


def shapes_of(arrays: dict[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shapes by our names."""
    made = translate(LAYOUTS["anomaly"], arrays).made
    return {name: tuple(arrays[how.sources[0]].shape) for name, how in made.items()}
