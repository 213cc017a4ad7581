"""Imports point down the layers, lazy ones too; heavy and optional modules stay in their places."""

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "gradatim"

# Lowest first; what stands in one set does not import its neighbors.
LAYERS = [
    {"errors", "files", "version"},
    {"plan"},
    {"parts", "weights", "data", "vision"},
    {"task"},
    {"system"},
    {"find"},
    {"features", "guards", "runs"},
    {"report"},
    {"engine"},
    {"systems"},
    {"cli"},
    {"__main__"},
]
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
# Where a module may be imported, by the start of its path below gradatim.
PLACES = {
    "torch.distributed": ("engine/device.py",),
    "h5py": ("weights/formats/",),
    "safetensors": ("weights/", "runs/progress.py"),
    "cv2": ("data/opencv.py", "data/video.py"),
    "huggingface_hub": ("weights/hub.py",),
    "transformers": ("systems/bombkd/backbones.py",),
    "av": ("data/video.py", "systems/bombkd/synthetic.py"),
    "sklearn": ("systems/bombkd/",),
    "onnx": ("systems/multigriddet/export.py",),
    "onnxruntime": ("systems/multigriddet/export.py",),
    "faster_coco_eval": ("systems/multigriddet/",),
    "matplotlib": ("report/", "systems/"),
    "tensorboard": ("runs/",),
    "typer": ("cli/",),
    "rich": ("cli/", "report/"),
    "jinja2": ("report/",),
    "torchvision": (),
    "timm": (),
    "pickle": ("weights/formats/",),
}


def python_files():
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 70
    return files


def imports(path):
    """Every imported module, with `from a import b` as `a.b` and as `a`; lazy imports and TYPE_CHECKING too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def test_imports_point_down_the_layers():
    wrong, seen = [], 0
    for path in python_files():
        own = layer(path)
        if own == "__init__":
            continue
        assert own in RANK, f"{own} stands in no layer"
        for name in imports(path):
            if not name.startswith("gradatim."):
                continue
            other = name.split(".")[1]
            seen += 1
            if other != own and RANK[other] >= RANK[own]:
                wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert not wrong, "\n".join(wrong)
    assert seen > 300


def test_a_system_knows_neither_the_engine_nor_another_system():
    wrong = []
    folders = [folder for folder in (SOURCE / "systems").iterdir() if (folder / "__init__.py").is_file()]
    assert len(folders) >= 1
    for folder in folders:
        for path in folder.rglob("*.py"):
            for name in imports(path):
                parts = name.split(".")
                if name.startswith(("gradatim.engine", "gradatim.report", "gradatim.runs")):
                    wrong.append(f"{path} imports {name}")
                if name.startswith("gradatim.systems.") and parts[2] != folder.name:
                    wrong.append(f"{path} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_core_does_not_name_a_system():
    for path in python_files():
        if layer(path) not in ("systems", "cli"):
            assert not any(name.startswith("gradatim.systems") for name in imports(path)), path


def test_optional_and_special_modules_stay_in_their_places():
    wrong = []
    for path in python_files():
        here = path.relative_to(SOURCE).as_posix()
        for name in imports(path):
            for module, places in PLACES.items():
                if (name == module or name.startswith(f"{module}.")) and not here.startswith(places or ("-",)):
                    wrong.append(f"{here} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_only_the_command_line_prints():
    for path in python_files():
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        prints = [n for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
        assert not prints or layer(path) == "cli", path


def test_plans_and_help_load_no_torch():
    code = (
        "import sys, gradatim, gradatim.plan, gradatim.cli.app; print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]
