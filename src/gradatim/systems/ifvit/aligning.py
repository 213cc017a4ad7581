"""Registers all pairs of a data set, so that a matcher can learn from prints that lie on one another."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gradatim.data.random import keyed_generator
from gradatim.files import write_json
from gradatim.plan.prepared import Prepared, Tell
from gradatim.systems.ifvit.alignment_file import write_alignments
from gradatim.systems.ifvit.data import FingerprintSettings, open_data, splits_of
from gradatim.systems.ifvit.pairs import Pair, draw_imposter, genuine_pairs, imposter_count
from gradatim.systems.ifvit.registration import Registrar
from gradatim.systems.ifvit.sources import PrintSource
from gradatim.systems.ifvit.warping import Matrix
from gradatim.weights.digest import part_digest, text_digest

PARTS = ("backbone", "transformer")
"""Of a model that registers."""
IMPOSTERS = 0.5
"""Share of pairs of two fingers among those that are registered."""
_SAVE_SECONDS = 20.0


class Counts(NamedTuple):
    """How many pairs there were, how many of them of one finger, and for how many a motion was found."""

    pairs: int
    genuine: int
    aligned: int


class _Job(NamedTuple):
    source: PrintSource
    pair: Pair

    @property
    def names(self) -> tuple[str, str]:
        return self.source.name(self.pair.first), self.source.name(self.pair.second)


def align_data(
    settings: FingerprintSettings,
    model: Any,
    out: Path,
    *,
    imposters: float = IMPOSTERS,
    device: torch.device | str = "cpu",
    tell: Tell = lambda done, of: None,
) -> Counts:
    """Register all pairs of prints of one finger, and some of two, and write the motions.

    What was found is kept beside the file three times a minute and when it is interrupted; the next call goes on there.

    Args:
        settings: which prints; those of training and of validation, each by itself.
        model: a `gradatim.engine.model.Model` that was trained for the task `dense`.
        out: file for the motions.
        imposters: share of pairs of two fingers, registered in the same way, since else the overlap would give them
            away.
        device: where the model is.
        tell: receives (pairs done, pairs in all).

    Raises:
        DataError: everything that is wrong with the prints.
    """
    side = model.settings.dense_size
    jobs = _jobs(settings, side, imposters)
    registrar = Registrar(model.compute, model.settings.backbone, device=device)
    sofar = _SoFar(out.with_name(f"{out.name}.part"), _key(jobs, model))
    try:
        for job in jobs[sofar.done :]:
            tell(sofar.done, len(jobs))
            sofar.add(_motion(registrar, job))
    finally:
        sofar.save()
    tell(len(jobs), len(jobs))
    write_alignments(out, side, {jobs[number].names: matrix for number, matrix in sofar.found.items()})
    sofar.path.unlink()
    return Counts(len(jobs), sum(job.pair.genuine for job in jobs), len(sofar.found))


def _jobs(settings: FingerprintSettings, side: int, imposters: float) -> list[_Job]:
    """Pairs of each split by itself: imposters of both would stand on either side of what is held out, of no use."""
    chosen = settings.model_copy(
        update={"samples": "dense", "size": side, "alignments": None, "protocol": "share", "limit": None}
    )
    sources = [open_data(chosen, split).source for split in splits_of(chosen)]
    return [_Job(source, pair) for source in sources for pair in pairs_to_align(source, imposters=imposters)]


def pairs_to_align(source: PrintSource, *, imposters: float, seed: int = 0) -> list[Pair]:
    """All pairs of prints of one finger, and pairs of two fingers that are a share of all.

    Args:
        source: the prints.
        imposters: share of all pairs.
        seed: of the imposters.
    """
    genuine = genuine_pairs(source.finger)
    random = keyed_generator(seed, "pairs to align")
    count = imposter_count(len(genuine), imposters) if len(set(source.finger.tolist())) > 1 else 0
    drawn = dict.fromkeys(draw_imposter(source.finger, random) for _ in range(count))
    return [*genuine, *drawn]


def _motion(registrar: Registrar, job: _Job) -> Matrix | None:
    """The motion on which matched cells agree."""
    source, (first, second, _) = job
    masks = source.mask(first), source.mask(second)
    one = registrar.register(source.picture(first), source.picture(second), masks)
    return None if one.alignment is None else one.matrix


def _key(jobs: Sequence[_Job], model: Any) -> str:
    """Digest of all that the motions depend on."""
    prints = dict.fromkeys(job.source.digest() for job in {id(job.source): job for job in jobs}.values())
    return text_digest(*prints, *(part_digest(model.parts[name]) for name in PARTS), str([job.pair for job in jobs]))


class _SoFar:
    """Motions that were found, kept in a file for whoever is interrupted.

    Args:
        path: of the file; what it holds of other prints or another model is not read.
        key: of what the motions depend on.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path, self._key = path, key
        self.done, self.found = 0, dict[int, Matrix]()
        self._saved = time.monotonic()
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(told, dict) and told.get("key") == key:
            self.done = int(told["done"])
            self.found = {int(number): np.array(matrix) for number, matrix in told["found"]}

    def add(self, motion: Matrix | None) -> None:
        """Take in the next one."""
        if motion is not None:
            self.found[self.done] = motion
        self.done += 1
        if time.monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the file."""
        found = [[number, np.asarray(matrix).tolist()] for number, matrix in self.found.items()]
        write_json(self.path, {"key": self._key, "done": self.done, "found": found})
        self._saved = time.monotonic()


def _prepare(settings: Any, model: Any, path: Path, device: Any, tell: Tell) -> None:
    align_data(settings, model, path, device=device, tell=tell)


PREPARED = Prepared(setting="alignments", file="alignments.json", make=_prepare)
