"""Values whose length differs by sample, and dicts of values, through a whole stage: live, stored, and in between."""

import numpy as np
import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from gradatim import DataKind, Plan, Stage, System, makes, run
from gradatim.features import FeatureStore
from gradatim.features.shelf import Shelf
from gradatim.runs import read_events
from gradatim.weights import read_weights

WIDTH, SAMPLES = 64, 300


class Nothing(BaseModel):
    """Neither the model nor the data has settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Sentences:
    """Rows of words; every sample has its own number of them."""

    fields, ragged, random = ("words", "y"), ("words",), False

    def __init__(self, settings: Nothing, split: str) -> None:
        draw = np.random.default_rng(0)
        self.lengths = [*draw.integers(0, 9, SAMPLES - 1).tolist(), 9]
        self.words = [torch.from_numpy(draw.standard_normal((n, WIDTH), dtype=np.float32)) for n in self.lengths]

    def __len__(self) -> int:
        return SAMPLES

    def name(self, index: int) -> str:
        return f"sentence-{index}"

    def digest(self) -> str:
        return "sentences"

    def sample(self, index, fields, random):
        return {n: {"words": self.words[index], "y": torch.tensor(float(self.lengths[index]))}[n] for n in fields}


@makes("tokens", "tokens_mask", "sums")
def embed(
    stem: nn.Module, words: Tensor, words_mask: Tensor | None = None
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    tokens = stem(words)
    sums = (tokens if words_mask is None else tokens * words_mask[..., None]).sum(1)
    return tokens, words_mask, {"all": sums, "half": sums[:, : WIDTH // 2]}


@makes("score")
def read(head: nn.Module, tokens: Tensor, sums: dict[str, Tensor], tokens_mask: Tensor | None = None) -> Tensor:
    scores = head(tokens)[..., 0]
    scores = scores if tokens_mask is None else scores * tokens_mask
    return scores.sum(1) + head(sums["all"])[:, 0] + sums["half"].mean(1)


def distance(score: Tensor, y: Tensor) -> Tensor:
    return (score - y).square().mean()


SYSTEM = System(
    name="sentences",
    summary="Counts words.",
    settings=Nothing,
    parts={"stem": lambda settings: nn.Linear(WIDTH, WIDTH), "head": lambda settings: nn.Linear(WIDTH, 1)},
    tasks={"count": (embed, read)},
    losses={"distance": distance},
    data=DataKind(
        settings=Nothing,
        open=Sentences,
        fields=lambda settings: Sentences.fields,
        shapes=lambda data, model: {"words": (3, WIDTH), "y": ()},
    ),
    fields=Sentences.fields,
)


def plan(**changes):
    settings = {"task": "count", "init": {"stem": "fresh", "head": "fresh"}, "train": ["head"], "lr": 1e-4}
    more = {"losses": {"distance": 1}, "epochs": 3, "batch_size": 10, **changes}
    return Plan(system="sentences", stages=(Stage.model_validate({"name": "fit", **settings, **more}),))


def weights(folder):
    return read_weights(folder / "model.safetensors").arrays


@pytest.mark.parametrize(("batch_size", "bits"), [(1, True), (10, False)])
def test_a_stage_over_values_of_varying_length_ends_equal_live_and_cached(tmp_path, batch_size, bits):
    size = {"batch_size": batch_size, "epochs": 2}
    live = run(plan(cache="off", **size), tmp_path / "live", system=SYSTEM)
    cached = run(plan(**size), tmp_path / "cached", system=SYSTEM)

    assert cached.stages["fit"]["states"]["stem"] == "cached"
    before, after = weights(live.folder), weights(cached.folder)
    for name in before:
        limit = 0 if bits else 1e-5 * float(before[name].norm())
        assert float((before[name] - after[name]).norm()) <= limit, name


def test_valid_rows_alone_are_stored_counted_and_split_into_shards(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADATIM_SHARD_BYTES", str(1 << 19))
    result = run(plan(), tmp_path / "run", system=SYSTEM)

    (entry,) = [entry for entry in Shelf().entries() if entry.about["step"] == "embed"]
    begun = next(event for event in read_events(result.folder / "events.jsonl") if event["event"] == "features")
    store, data = FeatureStore.open(entry.folder), Sentences(Nothing(), "train")
    rows = sum(data.lengths) * WIDTH * 4
    assert set(store.names) == {"tokens", "sums.all", "sums.half"}
    assert rows < store.bytes < 2 * rows
    # The estimate is of the first and the last sample, so it is only near.
    assert 0.5 * rows < begun["bytes"] < 3 * rows
    assert entry.shards == 2
    assert [len(store[index]["tokens"]) for index in range(SAMPLES)] == data.lengths
