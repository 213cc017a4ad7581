"""IFViT in the smallest: sizes, prints that are drawn, a finished run of both stages, and files of other programs."""

import torch

from gradatim import run
from gradatim.find import read_plan_document
from gradatim.plan import override
from gradatim.systems.ifvit.datasets.write import write_layout
from gradatim.systems.ifvit.fingers import PrintStyle
from gradatim.systems.ifvit.model import PARTS, IFViTSettings
from gradatim.weights import write_weights
from once import drawn
from systems.ifvit.foreign import loftr_file

MODEL = {
    "classes": 4, "widths": [4, 8, 16], "width": 16, "heads": 2, "layers": 2, "embedding": 8, "dense_size": 64,
    "match_size": 64, "roi_size": 32,
}  # fmt: skip
DRAWN = {"fingers": 4, "validate_fingers": 2, "impressions": 2}
STAGES = ("dense", "matcher")


def model(**settings):
    """The change of a plan that sets its model."""
    return f"model={ {**MODEL, **settings} }".replace("'", "")


def quick(*names):
    """Changes that make stages short, on fingers that are drawn."""
    own = (
        "data.root=fingers",
        "data.alignments=null",
        f"data.drawn={DRAWN}",
        "data.points=32",
        "batch_size=4",
        "epochs=1",
        "schedule=constant",
    )
    return [f"stages.{name}.{change}" for name in names or STAGES for change in own]


def settings(**changes):
    """Settings of the model."""
    return IFViTSettings(**{**MODEL, **changes})


def parts(*names, **changes):
    """Parts with seeded weights; all by default."""
    torch.manual_seed(0)
    return {name: PARTS[name](settings(**changes)) for name in names or PARTS}


def prints(folder, *, fingers=3, impressions=2, size=128, layout="fvc2002"):
    """A data set of prints that are drawn, hardly turned; returns its folder."""
    return drawn(folder, _write_prints, layout, fingers, impressions, size)


def _write_prints(folder, layout, fingers, impressions, size):
    write_layout(folder, layout, fingers=fingers, impressions=impressions, size=size, style=PrintStyle(rotation=5.0))


def held_out(folder, fingers):
    """Move fingers into the data set's own part for tests; returns its folder."""
    (folder / "Dbs" / "Db1_b").mkdir()
    for path in sorted(folder.glob(f"Dbs/Db1_a/[{fingers}]_*")):
        path.rename(path.parents[1] / "Db1_b" / path.name)
    return folder


def loftr(path, *, layers=2):
    """A file as LoFTR's authors publish it, of the tiny width."""
    torch.save({"state_dict": loftr_file(layers=layers, width=MODEL["width"])}, path)
    return path


def own_file(path, header=None, **changes):
    """A file of ours with a transformer, without lineage unless the header has one."""
    built = parts("transformer", **changes)
    write_weights(path, {name: part.state_dict() for name, part in built.items()}, header)
    return path


def chain(folder, *changes, name="small"):
    """Run both stages; returns the run's folder."""
    document = override(read_plan_document(f"ifvit/{name}"), [model(), *quick(), *changes])
    run(document, folder)
    return folder


def print_files(folder, *, run_dense=True):
    """What the recipes name: prints, LoFTR's file, and a run of dense registration in `runs/ifvit-1`."""
    held_out(prints(folder / "prints", fingers=5, size=96), "45")
    loftr(folder / "outdoor_ds.ckpt")
    if not run_dense:
        return folder
    document = override(read_plan_document("ifvit/small"), tiny_changes("ifvit/small"))
    run(override(document, ["stages.dense.epochs=1"]), folder / "runs" / "ifvit-1", stages=["dense"])
    return folder


def tiny_changes(name):
    """What makes a recipe tiny: few channels, and few fingers where they are drawn."""
    stages = [stage["name"] for stage in read_plan_document(name).tree["stages"]]
    short = ["batch_size=4", "schedule=constant", "data.points=32"]
    short += [f"data.drawn={DRAWN}"] if name.endswith("/small") else []
    return [model(), *(f"stages.{stage}.{change}" for stage in stages for change in short)]
