"""Figures of one-to-one comparison: from scores of pairs of one finger (genuine) and of two (imposter).

A pair is accepted if its score is at least the threshold. FAR, the false accept rate, is the share of imposters that
are accepted; FRR, the false reject rate, the share of genuine pairs that are not; TAR = 1 - FRR.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradatim.errors import DataError

Floats = NDArray[np.float64]
_EPSILON = 1e-8


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What every threshold does, the strictest first; before it one that accepts nothing.

    Args:
        thresholds: (T,) falling; the first is infinite.
        far, tar: (T,) in [0, 1], rising.
    """

    thresholds: Floats
    far: Floats
    tar: Floats

    @property
    def frr(self) -> Floats:
        """(T,) in [0, 1], falling."""
        result: Floats = 1 - self.tar
        return result


@dataclass(frozen=True)
class EqualError:
    """Where as many imposters are accepted as genuine pairs are rejected.

    Args:
        rate: EER in [0, 1].
        threshold: of the score.
    """

    rate: float
    threshold: float


def rates(genuine: ArrayLike, imposter: ArrayLike) -> Rates:
    """False and true accepts at every score, in O(n log n).

    Raises:
        DataError: there are no scores of one kind, or one is not finite.
    """
    own, other = np.sort(np.asarray(genuine, np.float64)), np.sort(np.asarray(imposter, np.float64))
    if not len(own) or not len(other):
        raise DataError(f"{len(own)} genuine and {len(other)} imposter scores: rates need both")
    if not (np.isfinite(own).all() and np.isfinite(other).all()):
        raise DataError("a score is not finite: the model that gave it is broken")
    thresholds = np.unique(np.concatenate([own, other]))[::-1]
    tar = (len(own) - np.searchsorted(own, thresholds)) / len(own)
    far = (len(other) - np.searchsorted(other, thresholds)) / len(other)
    return Rates(
        thresholds=np.concatenate([[np.inf], thresholds]),
        far=np.concatenate([[0.0], far]),
        tar=np.concatenate([[0.0], tar]),
    )


def equal_error(found: Rates) -> EqualError:
    """Equal error rate: the mean of FAR and FRR at the lowest score where they differ least."""
    apart = np.abs(found.far - found.frr)[1:][::-1]
    at = len(found.thresholds) - 1 - int(apart.argmin())
    return EqualError(float(found.far[at] + found.frr[at]) / 2, float(found.thresholds[at]))


def equal_error_of_curve(found: Rates) -> EqualError:
    """As `equal_error`, but FAR itself, at the highest such score that is a corner of the ROC curve.

    Source:
        The authors' script `EER.py`; scikit-learn's curve leaves out points that lie on a straight line.
    """
    bends = np.ones(len(found.far), np.bool_)
    # Counts are whole numbers, which differences of shares are not.
    bends[1:-1] = (np.abs(np.diff(found.far, 2)) > _EPSILON) | (np.abs(np.diff(found.tar, 2)) > _EPSILON)
    corners = np.flatnonzero(bends)
    at = corners[int(np.abs(found.frr - found.far)[corners].argmin())]
    return EqualError(float(found.far[at]), float(found.thresholds[at]))


def tar_at(found: Rates, far: float) -> tuple[float, float]:
    """TAR, and the threshold, where at most a share `far` of imposters is accepted."""
    at = int(np.flatnonzero(found.far <= far).max())
    return float(found.tar[at]), float(found.thresholds[at])


def at_threshold(genuine: ArrayLike, imposter: ArrayLike, threshold: float) -> dict[str, float]:
    """Counts `tp`, `fp`, `tn`, `fn`, and `accuracy`, `precision`, `recall`, `f1`, `far`, `frr` at a threshold."""
    own, other = np.asarray(genuine) >= threshold, np.asarray(imposter) >= threshold
    tp, fp = int(own.sum()), int(other.sum())
    fn, tn = own.size - tp, other.size - fp
    precision, recall = tp / (tp + fp + _EPSILON), tp / (tp + fn + _EPSILON)
    return {
        "tp": tp,
        "fp": fp,
        "tn": tn,
        "fn": fn,
        "accuracy": (tp + tn) / (own.size + other.size),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / (precision + recall + _EPSILON),
        "far": fp / (fp + tn + _EPSILON),
        "frr": fn / (fn + tp + _EPSILON),
    }


def d_prime(genuine: ArrayLike, imposter: ArrayLike) -> float:
    """How many standard deviations lie between the means of both kinds of scores."""
    own, other = np.asarray(genuine, np.float64), np.asarray(imposter, np.float64)
    return float(np.sqrt(2) * abs(own.mean() - other.mean()) / np.sqrt(own.var() + other.var() + _EPSILON))


def rank_one(scores: NDArray[np.float64], probes: Sequence[int], gallery: Sequence[int]) -> float:
    """Share of probes whose best match in a gallery is of their own finger.

    Args:
        scores: (probes, gallery).
        probes, gallery: number of each print's finger.

    Raises:
        DataError: a probe's finger is not in the gallery.
    """
    missing = sorted(set(probes) - set(gallery))
    if missing:
        raise DataError(f"fingers {missing[:5]} of the probes are not in the gallery")
    best = np.asarray(gallery)[scores.argmax(axis=1)]
    return float((best == np.asarray(probes)).mean())


def figures(genuine: ArrayLike, imposter: ArrayLike, fars: Sequence[float] = (1e-2, 1e-3, 1e-4)) -> Mapping[str, float]:
    """EER with its threshold, TAR at each FAR, d', and how many scores of each kind there are.

    A FAR below one imposter's share is met by a threshold that accepts none of them.
    """
    found = rates(genuine, imposter)
    equal = equal_error(found)
    return {
        "eer": equal.rate,
        "threshold": equal.threshold,
        **{f"tar@far={far:g}": tar_at(found, far)[0] for far in fars},
        "d_prime": d_prime(genuine, imposter),
        "genuine": np.asarray(genuine).size,
        "imposter": np.asarray(imposter).size,
    }
