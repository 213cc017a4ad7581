"""Classical classifiers and anomaly detectors on features: how much is in them without any training of ours.

A clip is one vector, the mean or the maximum over its tokens. Vectors of large sets lie in a temporary file, which is
removed whatever happens.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gradatim.errors import DataError, MissingExtraError, unknown
from gradatim.systems.bombkd.datasets import NO_LABEL
from gradatim.systems.bombkd.feature_files import FeatureSet
from gradatim.systems.bombkd.feature_shards import STUDENT, FeatureRecord, label_of

Pool = Literal["mean", "max"]
Array = NDArray[Any]

ACTION_MODELS = ("svm", "lr")
ANOMALY_MODELS = ("dbscan", "iforest")
ORIGINAL_EPS = 0.5
"""The published default for DBSCAN; in hundreds of dimensions it flags everything."""

_CONVERTED = "conv:"
_STUDENTS = (STUDENT, "vjepa2")


@dataclass(frozen=True)
class Vectors:
    """One vector and one label for each clip.

    Args:
        values: (n, d) float32.
        labels: (n,) int64, -1 for none.
    """

    values: Array
    labels: NDArray[np.int64]

    def labelled(self) -> "Vectors":
        """Those that have a label."""
        keep = self.labels != NO_LABEL
        return self if keep.all() else Vectors(self.values[keep], self.labels[keep])


@contextmanager
def pooled_vectors(
    source: FeatureSet,
    *,
    feature: str = STUDENT,
    pool: Pool = "mean",
    converters: Mapping[str, Callable[[Tensor], Tensor]] | None = None,
) -> Iterator[Vectors]:
    """One vector for each clip, in a temporary file that is gone when the context ends.

    Args:
        source: the features.
        feature: "student" (or "vjepa2"), a teacher, or "conv:TEACHER" for the student's tokens after a converter.
        pool: over tokens.
        converters: teacher -> (1, N, D) to (1, N', d); run one clip at a time.

    Raises:
        DataError: the feature or the converter does not exist, a record has no label, or there is no record.
    """
    if not len(source):
        raise DataError(f"{source.path}: holds no record.")
    read = _reader(feature, converters or {})
    labels = np.empty(len(source), np.int64)
    with tempfile.TemporaryDirectory(prefix="gradatim-") as folder:
        values: Array | None = None
        for number, record in enumerate(source.records()):
            tokens = read(record)
            # 16-bit sums of thousands of tokens overflow.
            vector = tokens.astype(np.float32).mean(axis=0) if pool == "mean" else tokens.max(axis=0)
            if values is None:
                values = np.memmap(Path(folder) / "vectors", np.float32, "w+", shape=(len(source), len(vector)))
            if vector.shape != values.shape[1:]:
                raise DataError(f"{record.path}: {feature!r} has width {len(vector)}, others have {values.shape[1]}.")
            values[number] = vector
            labels[number] = label_of(record, source.path)
        assert values is not None
        try:
            yield Vectors(values, labels)
        finally:
            del values


def classify_actions(
    train: Vectors, test: Vectors, *, models: Sequence[str] = ACTION_MODELS, remap_by_order: bool = False
) -> dict[str, dict[str, Any]]:
    """Fit classifiers of actions on standardized vectors and judge them; clips without a label are left out.

    Args:
        train, test: vectors of one width.
        models: "svm" (linear, at most 5000 iterations), "lr" (logistic regression, at most 2000).
        remap_by_order: give test labels the training labels of the same rank, if both are equally many and have
            none in common.

    Returns:
        Model -> `top1` (share that is right) and `report` (text, figures of each class).

    Raises:
        DataError: a model does not exist, or training has fewer than two classes.
        MissingExtraError: scikit-learn is not installed.
    """
    _refuse_unknown(models, ACTION_MODELS)
    preprocessing, svm, linear_model, metrics = _sklearn("preprocessing", "svm", "linear_model", "metrics")
    train, test = train.labelled(), test.labelled()
    if len(np.unique(train.labels)) < 2 or not len(test.labels):
        raise DataError(
            f"training has {len(np.unique(train.labels))} class(es) and testing {len(test.labels)} clips with a label; "
            "needs two classes and one clip."
        )
    labels = _remapped(train.labels, test.labels) if remap_by_order else test.labels
    scaler = preprocessing.StandardScaler().fit(train.values)
    made = {"svm": svm.LinearSVC(max_iter=5000), "lr": linear_model.LogisticRegression(max_iter=2000)}
    results = {}
    for name in models:
        told = made[name].fit(scaler.transform(train.values), train.labels).predict(scaler.transform(test.values))
        report = metrics.classification_report(labels, told, zero_division=0)
        results[name] = {"top1": float((told == labels).mean()), "report": report}
    return results


def detect_anomalies(
    train: Vectors,
    test: Vectors,
    *,
    models: Sequence[str] = ANOMALY_MODELS,
    normal_class: int | None = None,
    dbscan_eps: float | None = None,
    dbscan_min_samples: int = 5,
    contamination: float = 0.05,
) -> dict[str, dict[str, float]]:
    """Fit detectors on normal clips alone and judge them; clips without a label are left out.

    Args:
        train, test: vectors of one width.
        models: "dbscan": the distance to the nearest core sample; "iforest": isolation forest.
        normal_class: label of normal clips; None where labels are 0 for normal and 1.
        dbscan_eps: radius on standardized vectors; None takes `suggest_eps`, `ORIGINAL_EPS` is the published one.
        dbscan_min_samples: neighbors that make a core sample, itself included.
        contamination: share of training that the forest takes for abnormal.

    Returns:
        "dbscan", "isolationforest" -> `anomaly_rate` (share that is flagged), `auroc`, `auprc`, `f1@pred`;
        and for DBSCAN `eps`, `avg_nn_dist`, `med_nn_dist`. Areas are nan where one class alone is tested.

    Raises:
        DataError: a model does not exist, labels are not 0 and 1 without a normal class, or no clip is normal.
        MissingExtraError: scikit-learn is not installed.
    """
    _refuse_unknown(models, ANOMALY_MODELS)
    train, test = train.labelled(), test.labelled()
    normal = _normal_label(train, test, normal_class)
    fitted, tested = train.values[train.labels == normal], test.values
    if not len(fitted) or not len(tested):
        raise DataError(
            f"{len(fitted)} clips with label {normal} to train on and {len(tested)} to test; needs one each."
        )
    abnormal = (test.labels != normal).astype(int)
    (preprocessing,) = _sklearn("preprocessing")
    scaler = preprocessing.StandardScaler().fit(fitted)
    fitted, tested = (scaler.transform(values).astype(np.float64) for values in (fitted, tested))
    results = {}
    for name in models:
        if name == "dbscan":
            eps = suggest_eps(fitted, dbscan_min_samples) if dbscan_eps is None else dbscan_eps
            scores = _core_distances(fitted, tested, eps, dbscan_min_samples)
            spread = {"eps": eps, "avg_nn_dist": float(scores.mean()), "med_nn_dist": float(np.median(scores))}
            results["dbscan"] = spread | _judged(scores, scores > eps, abnormal)
        else:
            scores, flagged = _isolation(fitted, tested, contamination)
            results["isolationforest"] = _judged(scores, flagged, abnormal)
    return results


def suggest_eps(values: Array, min_samples: int = 5, *, share: float = 0.95) -> float:
    """A radius for DBSCAN in which a share of the vectors are core samples.

    Args:
        values: (n, d), standardized.
        min_samples: neighbors that make a core sample, itself included.
        share: of the vectors.

    Source:
        The distance to the k-th neighbor, after Ester et al. 1996, at a fixed share instead of a knee by eye.
    """
    (neighbors,) = _sklearn("neighbors")
    count = min(min_samples, len(values))
    distances, _ = neighbors.NearestNeighbors(n_neighbors=count).fit(values).kneighbors(values)
    return float(np.quantile(distances[:, -1], share))


def _reader(
    feature: str, converters: Mapping[str, Callable[[Tensor], Tensor]]
) -> Callable[[FeatureRecord], NDArray[Any]]:
    """Tokens (N, d) of a record."""
    if feature in _STUDENTS:
        return lambda record: record.student
    if not feature.startswith(_CONVERTED):
        return lambda record: _teacher(record, feature)
    teacher = feature.removeprefix(_CONVERTED)
    if teacher not in converters:
        raise DataError(f"feature {feature!r}: {unknown('converter', teacher, converters)}")

    @torch.no_grad()
    def converted(record: FeatureRecord) -> NDArray[Any]:
        tokens = torch.from_numpy(np.array(record.student, dtype=np.float32))
        found: NDArray[Any] = converters[teacher](tokens[None])[0].cpu().numpy()
        return found

    return converted


def _teacher(record: FeatureRecord, name: str) -> NDArray[Any]:
    if name not in record.teachers:
        known = [STUDENT, *record.teachers, *(_CONVERTED + teacher for teacher in record.teachers)]
        raise DataError(unknown("feature", name, known))
    return record.teachers[name]


def _refuse_unknown(models: Sequence[str], known: Sequence[str]) -> None:
    wrong = [unknown("model", name, known) for name in models if name not in known]
    if wrong:
        raise DataError(" ".join(wrong))


def _remapped(train: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.int64]:
    """Test labels by the training label of the same rank, where that can be meant."""
    ours, theirs = np.unique(train), np.unique(test)
    if len(ours) != len(theirs) or np.intersect1d(ours, theirs).size:
        return test
    return ours[np.searchsorted(theirs, test)]


def _normal_label(train: Vectors, test: Vectors, normal_class: int | None) -> int:
    if normal_class is not None:
        return normal_class
    labels = np.union1d(train.labels, test.labels).tolist()
    if not set(labels) <= {0, 1}:
        raise DataError(f"labels are {labels[:10]}, not 0 and 1; set `normal_class`.")
    return 0


def _core_distances(fitted: Array, tested: Array, eps: float, min_samples: int) -> Array:
    """Distance of each tested vector to the nearest core sample, or to the nearest of all where none is one."""
    cluster, neighbors = _sklearn("cluster", "neighbors")
    cores = cluster.DBSCAN(eps=eps, min_samples=min_samples).fit(fitted).core_sample_indices_
    nearest = neighbors.NearestNeighbors(n_neighbors=1).fit(fitted[cores] if len(cores) else fitted)
    distances: Array = nearest.kneighbors(tested)[0][:, 0]
    return distances


def _isolation(fitted: Array, tested: Array, contamination: float) -> tuple[Array, Array]:
    (ensemble,) = _sklearn("ensemble")
    forest = ensemble.IsolationForest(contamination=contamination, random_state=0).fit(fitted)
    return -forest.score_samples(tested), forest.predict(tested) == -1


def _judged(scores: Array, flagged: Array, abnormal: Array) -> dict[str, float]:
    (metrics,) = _sklearn("metrics")
    both = len(np.unique(abnormal)) == 2
    return {
        "anomaly_rate": float(flagged.mean()),
        "auroc": float(metrics.roc_auc_score(abnormal, scores)) if both else float("nan"),
        "auprc": float(metrics.average_precision_score(abnormal, scores)) if both else float("nan"),
        "f1@pred": float(metrics.f1_score(abnormal, flagged, zero_division=0)),
    }


def _sklearn(*modules: str) -> tuple[Any, ...]:
    """Modules of scikit-learn."""
    try:
        from sklearn import cluster, ensemble, linear_model, metrics, neighbors, preprocessing, svm
    except ImportError as error:
        raise MissingExtraError("sklearn", "analysis", "classifying features") from error
    known = {
        "cluster": cluster,
        "ensemble": ensemble,
        "linear_model": linear_model,
        "metrics": metrics,
        "neighbors": neighbors,
        "preprocessing": preprocessing,
        "svm": svm,
    }
    return tuple(known[module] for module in modules)
