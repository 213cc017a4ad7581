"""The tutorial's system trains through two stages, from Python and, once installed, from the command line."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import gradatim
from gradatim.find import read_plan_document

EXAMPLE = Path(__file__).parents[1] / "examples" / "denoise"


def load():
    spec = importlib.util.spec_from_file_location("denoise_example", EXAMPLE / "denoise.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_known_to_this_test():
    assert sorted(path.name for path in EXAMPLE.parent.iterdir() if path.is_dir()) == ["denoise"]


def test_the_sixth_system_trains_through_two_stages(tmp_path):
    system = load().SYSTEM

    result = gradatim.run(read_plan_document(str(EXAMPLE / "plan.yaml")), tmp_path / "run", system=system)

    assert list(result.stages) == ["both", "decoder"]
    assert result.stages["decoder"]["states"] == {"encoder": "no gradient", "decoder": "trained"}
    assert result.stages["decoder"]["frozen_arrays_equal"] == 2
    assert result.stages["both"]["best"] > 10
    assert len(list((tmp_path / "run").rglob("samples/*.png"))) == 2 * 9


def test_an_installed_package_is_found_by_its_entry_point(tmp_path):
    """What pip writes for the example's entry point, without pip: a dist-info folder on the path."""
    info = tmp_path / "site" / "gradatim_denoise-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gradatim-denoise\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[gradatim.systems]\ndenoise = denoise\n")
    (tmp_path / "site" / "denoise.py").write_text((EXAMPLE / "denoise.py").read_text())
    command = [sys.executable, "-c", "from gradatim.cli import script; script()"]

    result = subprocess.run(
        [*command, "run", str(EXAMPLE / "plan.yaml"), "--once", "--json"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), *sys.path])},
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    assert '"decoder"' in result.stdout


def test_the_example_stays_small():
    lines = (EXAMPLE / "denoise.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < 100
