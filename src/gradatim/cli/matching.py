"""What `match` and `evaluate` share: a trained matcher, its prints, and what a score is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gradatim.systems.ifvit.predict import Comparer

CALIBRATION = "verification.json"
"""Scores of a run's own validation prints, beside its model."""


def comparer(
    target: Path,
    settings: dict[str, object],
    *,
    dense: Path | None,
    turn: float,
    device: str | None,
    still: bool = False,
    fingernet: Path | None = None,
) -> "Comparer":
    """Load a matcher from a run, a file of ours or a foreign one.

    Args:
        target: the matcher.
        settings: of a foreign file's model.
        dense: model that registers prints; None: the dense stage of the run, or the matcher itself.
        turn: most degrees that one print may be turned by.
        still: whether prints lie on one another already.
        fingernet: weights of FingerNet; None: Gabor filters make ridges clear.
        device: None takes a GPU where there is one.

    Raises:
        WeightsError: it is no matcher, or lacks parts.
    """
    from gradatim.engine.device import this_place
    from gradatim.engine.model import load_model, load_run
    from gradatim.errors import WeightsError
    from gradatim.systems.ifvit.alignment import Search
    from gradatim.systems.ifvit.fingernet import FingerNetEnhancer, load_fingernet
    from gradatim.systems.ifvit.predict import Comparer
    from gradatim.systems.ifvit.registration import LEAST_SURE, Registrar

    place = this_place(device)
    loaded = load_model(target, system="ifvit", settings=settings)
    register = None if dense is None else load_model(dense, system="ifvit", settings=settings)
    if register is None and (stage := _dense_stage(target)) is not None:
        register = load_run(target, stage=stage)
    for path, one in ((target, loaded), (dense, register)):
        if one is not None and one.system.name != "ifvit":
            raise WeightsError(f"{path}: is a model of {one.system.name}, not of ifvit")
    step = 10
    search = Search(angles=tuple(range(-int(turn // step) * step, int(turn) + 1, step)), threshold=LEAST_SURE)
    registering = (register or loaded).to(place.device)
    registrar = Registrar(
        registering.compute, registering.settings.backbone, search=search, still=still, device=place.device
    )
    return Comparer(
        loaded.to(place.device).compute,
        loaded.settings,
        loaded.parts,
        registrar=registrar,
        enhancer=None if fingernet is None else FingerNetEnhancer(load_fingernet(fingernet)),
        device=place.device,
    )


def _dense_stage(target: Path) -> str | None:
    """The last stage of a run that trained dense registration."""
    from gradatim.runs.folder import RunFolder

    records = RunFolder(target).stage_records() if target.is_dir() else {}
    names = [name for name, record in records.items() if record.get("task") == "dense"]
    return names[-1] if names else None


def threshold_at(target: Path, far: float | None, usual: float) -> float | None:
    """The score that accepts at most this share of imposters among a run's validation prints; None where unknown.

    Args:
        target: the matcher.
        far: the share; None takes `usual`, or the least that so many imposters can tell.
        usual: the share that is meant where none is said.

    Raises:
        DataError: the share is below that of one of the imposters that were compared.
    """
    from gradatim.errors import DataError
    from gradatim.systems.ifvit.evaluate import read_calibration
    from gradatim.systems.ifvit.verification import tar_at

    path = target / CALIBRATION
    if not path.is_file():
        return None
    found, imposters = read_calibration(path)
    least = 1 / imposters
    if far is not None and far < least:
        raise DataError(
            f"--far {far:g}: {imposters} imposters were compared, which tell no rate below {least:.2g}; evaluate more "
            "pairs, of more fingers"
        )
    return tar_at(found, max(usual, least) if far is None else far)[1]
