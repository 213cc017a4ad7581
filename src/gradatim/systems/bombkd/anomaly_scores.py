"""Scores of anomalies frame by frame, and the area under their ROC curve.

A token is a place in space and time. Scores are averaged over space first, so that each time step counts once, and
then brought to the frames of the video, where the labels are.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import DataError

Order = Literal["thw", "hwt"]
Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class FrameAuc:
    """Area under the ROC curve over frames.

    Args:
        micro: over the frames of all clips together; nan without both kinds.
        macro: mean over the clips that have both kinds of frames; nan if none has.
        frames: how many frames there are.
        clips: how many clips count for `macro`.
    """

    micro: float
    macro: float
    frames: int
    clips: int


def frame_scores(
    tokens: Scores, layout: tuple[int, int, int], frames: int, *, sampled: int | None = None, order: Order = "thw"
) -> Scores:
    """Scores of a clip's tokens as scores of its frames.

    Args:
        tokens: (N,), one score for each token.
        layout: time steps, rows and columns; their product is N.
        frames: of the video, all of them.
        sampled: how many frames the backbone saw, spread evenly over the video, the same number for each time step;
            None for one.
        order: of the tokens; "hwt" where time runs fastest.

    Returns:
        (frames,), linear between the middles of the time steps and constant beyond the first and the last.

    Raises:
        DataError: the numbers do not fit together.
    """
    steps, rows, columns = layout
    sampled = steps if sampled is None else sampled
    if tokens.ndim != 1 or len(tokens) != steps * rows * columns:
        raise DataError(f"{tokens.shape} scores are not {steps} x {rows} x {columns} tokens.")
    if sampled % steps or frames < 1:
        raise DataError(f"{sampled} frames cannot be shared by {steps} time steps of a video of {frames} frames.")
    grid = tokens.reshape(steps, -1) if order == "thw" else tokens.reshape(-1, steps).T
    places = np.floor(np.linspace(0, frames - 1, sampled)).reshape(steps, -1).mean(axis=1)
    scores: Scores = np.interp(np.arange(frames), places, grid.mean(axis=1))
    return scores


def frame_auc(scores: Sequence[Scores], abnormal: Sequence[NDArray[np.bool_]]) -> FrameAuc:
    """Areas over the frames of some clips.

    Args:
        scores: (F_i,) of each clip, higher for abnormal.
        abnormal: (F_i,) of each clip.

    Raises:
        DataError: a clip has scores and labels of different lengths.
    """
    pairs = list(zip(scores, abnormal, strict=True))
    wrong = [f"clip {n}: {len(s)} scores for {len(a)} frames." for n, (s, a) in enumerate(pairs) if len(s) != len(a)]
    if wrong:
        raise DataError(" ".join(wrong[:10]))
    areas = [roc_auc(*pair) for pair in pairs]
    counted = [area for area in areas if not np.isnan(area)]
    micro = roc_auc(np.concatenate(list(scores)), np.concatenate(list(abnormal))) if pairs else float("nan")
    macro = float(np.mean(counted)) if counted else float("nan")
    return FrameAuc(micro=micro, macro=macro, frames=sum(map(len, scores)), clips=len(counted))


def roc_auc(scores: Scores, positive: NDArray[np.bool_]) -> float:
    """Share of pairs of a positive and a negative that are in order; equal scores count half; nan without pairs."""
    positive = np.asarray(positive, dtype=bool)
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    # Rank of each value from 1, equal values sharing the mean of theirs.
    ranks = np.cumsum(counts) - (counts - 1) / 2
    return float((ranks[inverse][positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
