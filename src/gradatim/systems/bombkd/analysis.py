"""Looking at features without training on them: what they hold, what they tell apart, how near they come.

The tools stand in modules of their own; this is their table of contents.
"""

from gradatim.systems.bombkd.alignment import alignment, choose_classes, plot_alignment, plot_clouds, project
from gradatim.systems.bombkd.anomaly_scores import FrameAuc, frame_auc, frame_scores, roc_auc
from gradatim.systems.bombkd.classifiers import (
    ORIGINAL_EPS,
    Vectors,
    classify_actions,
    detect_anomalies,
    pooled_vectors,
    suggest_eps,
)
from gradatim.systems.bombkd.feature_inspection import LabelReport, inspect_features, scan_labels

__all__ = [
    "ORIGINAL_EPS",
    "FrameAuc",
    "LabelReport",
    "Vectors",
    "alignment",
    "choose_classes",
    "classify_actions",
    "detect_anomalies",
    "frame_auc",
    "frame_scores",
    "inspect_features",
    "plot_alignment",
    "plot_clouds",
    "pooled_vectors",
    "project",
    "roc_auc",
    "scan_labels",
    "suggest_eps",
]
