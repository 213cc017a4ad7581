"""The original's own files, spoilt in every way: none passes, each is told in one message, and nothing changes."""

import re
from pathlib import Path

import pytest
import torch

from gradatim.engine.run import run
from gradatim.errors import WeightsError
from gradatim.plan import Plan
from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.weights import file_digest, read_weights, recognised
from parity.maefuse.test_checkpoints import FEEDS, case, folder, settings  # noqa: F401 - fixtures
from pictures import pair_root

pytestmark = pytest.mark.parity
ALL = ("encoder", "decoder", "cfm", "mfm")


@pytest.fixture
def attempt(case, tmp_path):  # noqa: F811 - a fixture
    """Runs one step of a stage that takes all parts that a file of this layout feeds from the file."""
    sizes = settings(case)
    pair_root(tmp_path / "data", ("a", "b"), size=sizes.image_size)

    def go(file: Path, layout: str | None, feeds=ALL) -> Path:
        source = {"checkpoint": str(file), **({"layout": layout} if layout else {})}
        stage = {
            "name": "joint", "task": "fuse", "train": ["mfm"], "losses": {"intensity": 1}, "steps": 1, "batch_size": 2,
            "init": {part: source if part in feeds else "fresh" for part in ALL},
            "data": {"root": str(tmp_path / "data"), "holdout": 0},
        }  # fmt: skip
        plan = {"system": "maefuse", "model": sizes.model_dump(mode="json"), "stages": [stage]}
        return run(Plan.model_validate(plan), tmp_path / "out").model

    return go


@pytest.fixture
def refused(attempt, tmp_path):
    def go(file: Path, layout: str | None, feeds=ALL) -> str:
        before = file_digest(file)
        with pytest.raises(WeightsError) as error:
            attempt(file, layout, feeds)
        assert not (tmp_path / "out").exists()
        assert file_digest(file) == before
        assert str(error.value).startswith(f"stage 'joint': {file}: ")
        return str(error.value)

    return go


def known(folder: Path) -> dict[Path, tuple[str, tuple[str, ...]]]:  # noqa: F811 - a fixture's value
    """Layout of every sample file, and the parts that it feeds."""
    found = {}
    for path in sorted(folder.glob("*.pth")):
        weights = read_weights(path)
        layout = recognised(weights, LAYOUTS)[0]
        encoder_alone = not any("decoder" in name for name in weights.arrays)
        found[path] = layout, ("encoder",) if layout == "facebook" and encoder_alone else FEEDS[layout]
    assert len(found) >= 6
    return found


def test_every_file_trains_as_what_it_is(folder, attempt, tmp_path):  # noqa: F811
    for path, (layout, feeds) in known(folder).items():
        attempt(path, layout, feeds).unlink()
        (tmp_path / "out").rename(tmp_path / f"out-{path.stem}")


def test_no_file_passes_for_more_than_it_is(folder, refused):  # noqa: F811
    for path, (layout, _) in known(folder).items():
        if layout != "whole":
            message = refused(path, "whole")
            assert f"the file's names are those of layout {layout!r}" in message
            assert refused(path, None)
            assert re.search(r"missing in the file \(\d+\): ", message)


def test_no_spoilt_copy_passes(folder, refused, tmp_path):  # noqa: F811
    for path, (layout, feeds) in known(folder).items():
        for share in (0.2, 0.7, 0.999):
            content = path.read_bytes()
            cut = tmp_path / "cut.pth"
            cut.write_bytes(content[: int(share * len(content))])
            assert len(refused(cut, layout, feeds).split("\n")) == 1
        arrays = dict(read_weights(path).arrays)
        chosen = next(name for name in sorted(arrays) if name.endswith("weight") and arrays[name].ndim == 1)
        spoilt = {
            "prefix": {f"generator.{name}": array for name, array in arrays.items()},
            "missing": {name: array for name, array in arrays.items() if name != chosen},
            "renamed": {name.replace(chosen, chosen + "_old"): array for name, array in arrays.items()},
            "shape": {name: torch.cat([array, array]) if name == chosen else array for name, array in arrays.items()},
        }
        for kind, content in spoilt.items():
            torch.save(content, tmp_path / f"{kind}.pth")
            message = refused(tmp_path / f"{kind}.pth", layout, feeds)
            assert "nothing was changed" in message
            if kind == "prefix":
                assert "remedy: `rename: {'generator.': ''}`" in message
