"""What `fuse`, `evaluate` and `demo` share: a trained model over files, with a bar."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gradatim.cli.output import stderr

if TYPE_CHECKING:
    from torch import Tensor

    from gradatim.engine.model import Model
    from gradatim.systems.maefuse.predict import Job


def fuse_jobs(model: "Model", jobs: "Sequence[Job]", *, device: Any, **how: Any) -> int:
    """Fuse files and write the results; the number written.

    Args:
        model: a MaeFuse model on the device.
        jobs: from `plan_jobs`.
        device: where the model is.
        how: passed on to `fuse_pairs`: mode, overlap, batch_size.
    """
    from rich.progress import track

    from gradatim.engine.model import need_parts
    from gradatim.systems.maefuse.predict import fuse_pairs

    need_parts(model, ("encoder", "cfm", "mfm", "decoder"), "fusing")

    def fuse(visible: "Tensor", infrared: "Tensor") -> "Tensor":
        fused = model.compute("fuse", {"visible": visible, "infrared": infrared}, ("fused",))["fused"]
        assert not isinstance(fused, dict)
        return fused

    work = fuse_pairs(jobs, fuse, size=model.settings.image_size, device=device, **how)
    return len(list(track(work, "fusing", total=len(jobs), console=stderr(), disable=not sys.stderr.isatty())))


def held_out_jobs(run: Path, out: Path) -> "list[Job]":
    """The pairs that the last stage of a run held out, as work for `fuse_jobs`.

    Raises:
        DataError: nothing is held out, or the pictures cannot be used any more.
    """
    from gradatim.engine.checked import checked_plan
    from gradatim.find import read_plan_document
    from gradatim.systems.maefuse.data import PairSettings, open_pairs
    from gradatim.systems.maefuse.pairs import Pair
    from gradatim.systems.maefuse.predict import Job

    plan, _, _ = checked_plan(read_plan_document(str(run)))
    settings = PairSettings.model_validate(dict(plan.stages[-1].data))
    items = open_pairs(settings, "validate").items
    pairs = [Pair(item.name, item.files["visible"], item.files["infrared"]) for item in items]
    return [Job(pair, out / f"{pair.visible.stem}.png") for pair in pairs]
