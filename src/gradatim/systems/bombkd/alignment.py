"""How near converted features come to a teacher's: distances between clouds of vectors, and pictures of them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gradatim.errors import DataError, MissingExtraError
from gradatim.files import replace_file

Array = NDArray[Any]

SEED = 42
COMPONENTS = 32


def alignment(converted: Array, teacher: Array, *, components: int = COMPONENTS) -> dict[str, float]:
    """Measures of agreement between vectors of the same clips.

    Args:
        converted: (n, d).
        teacher: (n, d), row by row of the same clips.
        components: how many principal components of both together the last two measures are taken on.

    Returns:
        `cosine`: mean over clips; `r2`: share of the teacher's variance that is explained, over all dimensions;
        `mmd`: maximum mean discrepancy, squared, with a Gaussian kernel as wide as the median distance;
        `kl`: symmetric divergence of the Gaussians with the clouds' means and covariances; `wasserstein`: mean
        distance of the distributions along the components.

    Raises:
        DataError: the shapes differ or there are fewer than three clips.
    """
    if converted.shape != teacher.shape or converted.ndim != 2 or len(converted) < 3:
        raise DataError(
            f"converted is {converted.shape}, teacher is {teacher.shape}; needs (n, d) twice, n at least 3."
        )
    x, y = converted.astype(np.float64), teacher.astype(np.float64)
    axes = _axes(np.concatenate([x, y]), min(components, len(x) - 1, x.shape[1]))
    return {
        "cosine": _cosine(x, y),
        "r2": float(1 - ((x - y) ** 2).sum() / max(((y - y.mean(axis=0)) ** 2).sum(), 1e-12)),
        "mmd": _mmd(x, y),
        "kl": _symmetric_kl(x @ axes, y @ axes),
        "wasserstein": _wasserstein(x @ axes, y @ axes),
    }


def project(values: Array, *, method: Literal["pca", "tsne"] = "pca") -> Array:
    """Vectors (n, d) on a plane: (n, 2).

    Raises:
        DataError: fewer than three vectors.
        MissingExtraError: t-SNE without scikit-learn.
    """
    if len(values) < 3:
        raise DataError(f"{len(values)} vectors make no picture; needs 3.")
    values = np.asarray(values, dtype=np.float64)
    if method == "pca":
        points: Array = (values - values.mean(axis=0)) @ _axes(values, 2)
        return points
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise MissingExtraError("sklearn", "analysis", "t-SNE") from error
    perplexity = min(30.0, max(5.0, (len(values) - 1) // 3), len(values) - 1.0)
    placed: Array = TSNE(perplexity=perplexity, init="pca", random_state=SEED).fit_transform(values.astype(np.float32))
    return placed


def plot_clouds(
    path: Path,
    clouds: Mapping[str, Array],
    labels: NDArray[np.int64],
    *,
    classes: Mapping[int, str] | None = None,
    method: Literal["pca", "tsne"] = "pca",
) -> None:
    """Draw clouds of vectors of the same clips, each in a panel of its own, colored by class.

    Clouds of one width are projected together, so that their places can be compared.

    Args:
        path: a picture; .png, .pdf or .svg.
        clouds: title -> (n, d).
        labels: (n,), class of each clip.
        classes: names for the legend.
        method: of projection.

    Raises:
        DataError: a cloud has not as many vectors as there are labels.
        MissingExtraError: matplotlib is not installed.
    """
    wrong = [f"{title!r}: {len(cloud)} vectors for {len(labels)} labels." for title, cloud in clouds.items()
             if len(cloud) != len(labels)]  # fmt: skip
    if wrong or not clouds:
        raise DataError(" ".join(wrong) or "there is no cloud to draw.")
    figure = _figure(4.2 * len(clouds), 4.4)
    placed = _projected(clouds, method)
    for place, (title, points) in enumerate(placed.items(), start=1):
        axes = figure.add_subplot(1, len(clouds), place)
        for number, label in enumerate(np.unique(labels)):
            name = (classes or {}).get(int(label), str(label))
            chosen = points[labels == label]
            axes.scatter(chosen[:, 0], chosen[:, 1], s=12, color=_color(number), label=name, alpha=0.75, linewidths=0)
        axes.set_title(title)
        axes.set_xticks([])
        axes.set_yticks([])
    if len(np.unique(labels)) <= 20:
        figure.axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    _save(figure, path)


def plot_alignment(path: Path, measures: Mapping[str, Mapping[str, float]]) -> None:
    """Draw bars of each measure for each teacher.

    Args:
        path: a picture; .png, .pdf or .svg.
        measures: teacher -> result of `alignment`.

    Raises:
        DataError: there is no teacher.
        MissingExtraError: matplotlib is not installed.
    """
    if not measures:
        raise DataError("there is no teacher to draw.")
    names = list(next(iter(measures.values())))
    figure = _figure(2.6 * len(names), 3.0)
    for place, name in enumerate(names, start=1):
        axes = figure.add_subplot(1, len(names), place)
        values = [measures[teacher][name] for teacher in measures]
        axes.bar(range(len(measures)), values, color=[_color(number) for number in range(len(measures))])
        axes.set_xticks(range(len(measures)), list(measures), rotation=30, ha="right", fontsize=8)
        axes.set_title(name)
    _save(figure, path)


def choose_classes(
    values: Array, labels: NDArray[np.int64], count: int, *, by: Literal["random", "lr", "forest"] = "random"
) -> NDArray[np.int64]:
    """Classes to draw.

    Args:
        values: (n, d).
        labels: (n,).
        count: how many; all, if there are no more.
        by: "random"; or those that logistic regression or a random forest tells best, in three-fold cross-validation
            (classes with fewer than three clips are out).

    Returns:
        Sorted labels.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    known, sizes = np.unique(labels, return_counts=True)
    if by != "random":
        known = known[sizes >= 3]
    if len(known) <= count:
        return known
    if by == "random":
        return np.sort(np.random.default_rng(SEED).choice(known, count, replace=False))
    recalls = _recalls(values, labels, known, by)
    return np.sort(known[np.argsort(-recalls, kind="stable")[:count]])


def _recalls(values: Array, labels: NDArray[np.int64], known: Array, by: str) -> Array:
    """Share of each class's clips that are told rightly."""
    try:
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise MissingExtraError("sklearn", "analysis", "choosing classes") from error
    kept = np.isin(labels, known)
    models = {
        "lr": LogisticRegression(max_iter=2000),
        "forest": RandomForestClassifier(n_estimators=100, random_state=SEED),
    }
    told = cross_val_predict(make_pipeline(StandardScaler(), models[by]), values[kept], labels[kept], cv=3)
    return np.array([(told[labels[kept] == label] == label).mean() for label in known])


def _axes(values: Array, count: int) -> Array:
    """Directions (d, count) of the largest variance, each with a sign that does not depend on chance."""
    _, _, rows = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    rows = rows[:count]
    signs = np.sign(rows[np.arange(len(rows)), np.abs(rows).argmax(axis=1)])
    axes = (rows * signs[:, None]).T
    return np.pad(axes, ((0, 0), (0, count - axes.shape[1])))


def _cosine(x: Array, y: Array) -> float:
    norms = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return float(((x * y).sum(axis=1) / np.maximum(norms, 1e-8)).mean())


def _mmd(x: Array, y: Array) -> float:
    """Mean kernel inside both clouds less that between them."""
    both = np.concatenate([x, y])
    squares = (both**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None] - 2 * both @ both.T, 0)
    median = np.median(distances[np.triu_indices(len(both), k=1)])
    kernel = np.exp(-distances / max(2 * median, 1e-12))
    n = len(x)
    return float(kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean())


def _symmetric_kl(x: Array, y: Array) -> float:
    """Half the sum of both divergences of two Gaussians, their means included; a hundredth of the variance is added."""
    shift = x.mean(axis=0) - y.mean(axis=0)
    covariances = [np.atleast_2d(np.cov(values, rowvar=False)) for values in (x, y)]
    ridge = 0.01 * max(float(np.mean([np.trace(c) / len(c) for c in covariances])), 1e-12)
    first, second = (c + ridge * np.eye(len(c)) for c in covariances)
    inverse_first, inverse_second = np.linalg.inv(first), np.linalg.inv(second)
    spread = np.trace(inverse_second @ first) + np.trace(inverse_first @ second) - 2 * len(first)
    moved = shift @ (inverse_first + inverse_second) @ shift
    return float(0.25 * (spread + moved))


def _wasserstein(x: Array, y: Array) -> float:
    """Mean distance of sorted values along each column; both clouds are equally large."""
    return float(np.abs(np.sort(x, axis=0) - np.sort(y, axis=0)).mean())


def _projected(clouds: Mapping[str, Array], method: Literal["pca", "tsne"]) -> dict[str, Array]:
    placed: dict[str, Array] = {}
    for width in dict.fromkeys(cloud.shape[1] for cloud in clouds.values()):
        titles = [title for title, cloud in clouds.items() if cloud.shape[1] == width]
        points = project(np.concatenate([clouds[title] for title in titles]), method=method)
        placed |= dict(zip(titles, np.split(points, len(titles)), strict=True))
    return {title: placed[title] for title in clouds}


def _figure(width: float, height: float) -> Any:
    """A figure that belongs to nobody else: pyplot would keep it."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("matplotlib", "analysis", "drawing") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _color(number: int) -> Any:
    from matplotlib import colormaps

    return colormaps["tab20"](number % 20)


def _save(figure: Any, path: Path) -> None:
    kind = path.suffix.lstrip(".").lower()
    if kind not in ("png", "pdf", "svg"):
        raise DataError(f"{path}: cannot draw {path.suffix!r}; known: .pdf, .png, .svg.")
    replace_file(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=150))
