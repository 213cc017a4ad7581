"""Records of features, made on the spot, in each of the forms of files."""

import json
from pathlib import Path

import numpy as np

from gradatim.systems.bombkd.feature_files import export_features
from gradatim.systems.bombkd.feature_shards import FeatureRecord
from gradatim.weights.formats.restricted_pickle import dump_pickle


def records(count: int = 7, *, seed: int = 0, dtype=np.float32, labels: bool = True) -> list[FeatureRecord]:
    random = np.random.default_rng(seed)

    def tokens(number: int, width: int) -> np.ndarray:
        return random.normal(size=(number, width)).astype(dtype)

    return [
        FeatureRecord(
            path=f"clips/{number}.mp4",
            label=number % 3 if labels else None,
            student=tokens(4 + number % 2, 6),
            teachers={"a/b": tokens(3, 5), "c": tokens(2, 8)},
        )
        for number in range(count)
    ]


def write_arrays(folder: Path, made: list[FeatureRecord], *, size: int = 3, index: bool = True) -> Path:
    """Write folders of arrays, as the published program does by default."""
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    for start in range(0, len(made), size):
        part = made[start : start + size]
        name = f"features_ucf101_train_shard_{len(shards):05d}"
        (folder / name).mkdir()
        fields = {"student": [record.student for record in part]}
        fields |= {teacher: [record.teachers[teacher] for record in part] for teacher in part[0].teachers}
        for field, arrays in fields.items():
            spelled = field.replace("/", "_")
            np.save(folder / name / f"{spelled}_concat.npy", np.concatenate(arrays))
            np.save(folder / name / f"{spelled}_offs.npy", np.cumsum([0, *map(len, arrays)]))
        if part[0].label is not None:
            np.save(folder / name / "labels.npy", np.array([record.label for record in part]))
        np.save(folder / name / "paths.npy", np.array([record.path for record in part]))
        shards.append({"file": name, "start": start, "count": len(part)})
    told = {"dataset": "ucf101", "split": "train", "teachers": list(made[0].teachers), "shards": shards}
    if index:
        (folder / "features_ucf101_train.index.json").write_text(json.dumps(told))
    return folder


def write_json_records(folder: Path, made: list[FeatureRecord]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    content = [
        {"path": r.path, "label": r.label, "student": r.student.tolist()}
        | {teacher: tokens.tolist() for teacher, tokens in r.teachers.items()}
        for r in made
    ]
    (folder / "features_ucf101_train.json").write_text(json.dumps(content))
    return folder


def write_all_forms(root: Path, made: list[FeatureRecord]) -> list[Path]:
    """The same records in every form, each in a folder of its own."""
    for size in (0, 3):
        export_features(root / f"pkl{size}", made, dataset="ucf101", split="train", shard_size=size)
    bare = root / "bare"
    export_features(bare, made, dataset="ucf101", split="train", shard_size=3)
    index = json.loads((bare / "features_ucf101_train.index.json").read_text())
    for shard in index["shards"]:
        shard["file"] = shard["file"].removesuffix(".pkl")
    (bare / "features_ucf101_train.index.json").write_text(json.dumps(index))
    write_arrays(root / "npy", made)
    write_json_records(root / "json", made)
    return [root / name for name in ("pkl0", "pkl3", "bare", "npy", "json")]


def write_unlabelled(path: Path, made: list[FeatureRecord]) -> Path:
    """One pickle file without labels."""
    dump_pickle(path, [{"path": r.path, "student": r.student, **r.teachers} for r in made])
    return path
