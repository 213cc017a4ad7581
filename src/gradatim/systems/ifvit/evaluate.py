"""How well prints are told apart: every pair is registered, laid on one another and scored as in use."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import DataError, MissingExtraError
from gradatim.files import replace_file, write_json, write_text
from gradatim.systems.ifvit.pairs import by_finger, protocol_pairs, spread
from gradatim.systems.ifvit.predict import Comparer, Print, search_gallery
from gradatim.systems.ifvit.sources import PrintSource
from gradatim.systems.ifvit.verification import Rates, equal_error, figures, rates, tar_at

FARS = (1e-2, 1e-3, 1e-4)
_RANKED = 5
"""Prints of a gallery that are compared with a probe, after their templates were."""
_NEEDED = "fingerprints"


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A pair of prints.

    Args:
        first, second: names.
        genuine: whether both are of one finger.
        score, whole, region: see `predict.Comparison`.
        inliers: matches that agree with the motion; 0 where none was found.
    """

    first: str
    second: str
    genuine: bool
    score: float
    whole: float
    region: float
    inliers: int


@dataclass(frozen=True, kw_only=True)
class Verification:
    """Figures of a matcher.

    Args:
        pairs: all that were compared.
        rank_one: share of probes whose best print of a gallery is of their finger; None where no finger has two.
        probes, gallery: how many prints each.
        unreadable: prints that show no ridges, by name.
    """

    pairs: Sequence[Compared]
    rank_one: float | None
    probes: int
    gallery: int
    unreadable: Mapping[str, str]

    @property
    def genuine(self) -> NDArray[np.float64]:
        """Scores of pairs of one finger."""
        return np.array([one.score for one in self.pairs if one.genuine])

    @property
    def imposter(self) -> NDArray[np.float64]:
        """Scores of pairs of two fingers."""
        return np.array([one.score for one in self.pairs if not one.genuine])

    @cached_property
    def rates(self) -> Rates:
        """What every threshold does."""
        return rates(self.genuine, self.imposter)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {
            **figures(self.genuine, self.imposter, FARS),
            "thresholds": {f"{far:g}": tar_at(self.rates, far)[1] for far in FARS},
            "rank_one": self.rank_one,
            "probes": self.probes,
            "gallery": self.gallery,
            "unaligned": sum(one.inliers == 0 for one in self.pairs),
            "unreadable": dict(self.unreadable),
        }


def evaluate_prints(
    comparer: Comparer,
    source: PrintSource,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], object] = lambda done, of: None,
) -> Verification:
    """Compare prints by the protocol of the FVC competitions, and look for each finger in a gallery.

    Genuine are all pairs of one finger, imposters the first prints of every two fingers. The gallery has the first
    print of every finger; probes are the second ones.

    Args:
        comparer: compares.
        source: the prints.
        limit: use no more pairs than this, spread evenly over each kind.
        progress: receives (comparisons done, comparisons in all).

    Raises:
        DataError: there are no pairs of one of both kinds.
    """
    ready, unreadable = _prepared(comparer, source)
    pairs = [one for one in protocol_pairs(source.finger) if one.first in ready and one.second in ready]
    kinds = [[one for one in pairs if one.genuine is genuine] for genuine in (True, False)]
    if not all(kinds):
        raise DataError(
            f"{len(kinds[0])} pairs of one finger and {len(kinds[1])} of two: figures need both; take more fingers, "
            "with two prints each"
        )
    if limit is not None:
        kinds = [spread(one, max(limit // 2, 1)) for one in kinds]
    groups = [[n for n in group if n in ready] for group in by_finger(source.finger).values()]
    sought = [group[:2] for group in groups if len(group) > 1]
    total = sum(map(len, kinds)) + _RANKED * len(sought)
    found: list[Compared] = []
    for first, second, genuine in (*kinds[0], *kinds[1]):
        one = comparer.compare(ready[first], ready[second])
        found.append(
            Compared(
                first=source.name(first),
                second=source.name(second),
                genuine=genuine,
                score=one.score,
                whole=one.whole,
                region=one.region,
                inliers=one.alignment.inliers if one.alignment is not None else 0,
            )
        )
        progress(len(found), total)
    gallery = [group[0] for group in groups if group]
    right = _right(comparer, ready, gallery, sought, lambda done: progress(len(found) + _RANKED * done, total))
    return Verification(
        pairs=found,
        rank_one=right / len(sought) if sought else None,
        probes=len(sought),
        gallery=len(gallery),
        unreadable=unreadable,
    )


def _prepared(comparer: Comparer, source: PrintSource) -> tuple[dict[int, Print], dict[str, str]]:
    ready, unreadable = {}, {}
    for number in range(len(source.finger)):
        try:
            ready[number] = comparer.prepared(source.picture(number), source.name(number))
        except DataError as error:
            unreadable[source.name(number)] = str(error)
    return ready, unreadable


def _right(
    comparer: Comparer,
    ready: Mapping[int, Print],
    gallery: Sequence[int],
    sought: Sequence[Sequence[int]],
    progress: Callable[[int], object],
) -> int:
    """How many probes find their finger first."""
    prints = [ready[number] for number in gallery]
    templates = np.stack([comparer.template(one) for one in prints])
    right = 0
    for done, (own, probe) in enumerate(sought, 1):
        best = search_gallery(comparer, ready[probe], prints, templates, top=_RANKED)[0]
        right += best.number == gallery.index(own)
        progress(done)
    return right


def write_evaluation(out: Path, found: Verification) -> list[Path]:
    """Write figures, scores and pictures into a folder; their paths.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("first", "second", "genuine", "score", "whole", "region", "inliers"))
    for one in found.pairs:
        scores = (f"{value:.6f}" for value in (one.score, one.whole, one.region))
        table.writerow((one.first, one.second, int(one.genuine), *scores, one.inliers))
    paths = [out / name for name in ("det.png", "scores.png", "scores.csv", "evaluation.json")]
    _paint(paths[0], found, _det)
    _paint(paths[1], found, _histogram)
    write_text(paths[2], text.getvalue())
    write_json(paths[3], found.to_json())
    return paths


def write_calibration(path: Path, found: Verification) -> None:
    """Keep the scores of a model's own validation prints, which tell what a threshold is worth."""
    write_json(path, {"genuine": found.genuine.tolist(), "imposter": found.imposter.tolist()})


def read_calibration(path: Path) -> tuple[Rates, int]:
    """What every threshold does, from scores that were kept, and how many are of imposters.

    Raises:
        DataError: the file is damaged.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        return rates(kept["genuine"], kept["imposter"]), len(kept["imposter"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: damaged ({error}); `gradatim evaluate` measures the scores again") from error


def _paint(path: Path, found: Verification, paint: Callable[[Any, Verification], None]) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise MissingExtraError("matplotlib", _NEEDED, "the pictures of an evaluation") from error
    figure = Figure(figsize=(6.5, 5), layout="constrained")
    FigureCanvasAgg(figure)
    paint(figure.add_subplot(), found)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=120))


def _det(axes: Any, found: Verification) -> None:
    """False rejects over false accepts, both logarithmic: a detection error tradeoff."""
    curve, least = found.rates, 0.5 / max(len(found.genuine), len(found.imposter))
    axes.loglog(curve.far.clip(least), curve.frr.clip(least), color="#2171b5", linewidth=2, drawstyle="steps-post")
    equal = equal_error(curve)
    axes.plot([least, 1], [least, 1], color="#999999", linewidth=1, linestyle=":")
    axes.plot(max(equal.rate, least), max(equal.rate, least), "o", color="#d62728", label=f"EER {equal.rate:.2%}")
    axes.set(
        xlabel="false accept rate",
        ylabel="false reject rate",
        xlim=(least, 1),
        ylim=(least, 1),
        title=f"{len(found.genuine)} genuine pairs, {len(found.imposter)} imposters",
    )
    axes.legend()


def _histogram(axes: Any, found: Verification) -> None:
    """How scores of both kinds are spread."""
    both = np.concatenate([found.genuine, found.imposter])
    edges = np.linspace(both.min(), both.max() + 1e-9, 41).tolist()
    for scores, name, color in ((found.imposter, "imposter", "#d62728"), (found.genuine, "genuine", "#2ca02c")):
        axes.hist(scores, edges, weights=np.full(len(scores), 1 / len(scores)), alpha=0.6, label=name, color=color)
    axes.set(xlabel="score", ylabel="share of pairs")
    axes.legend()
