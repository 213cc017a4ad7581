"""What the command line takes before it answers, beside `import torch` in a process of its own.

`gradatim plan` builds every network of a plan, without its weights, so its first look at a plan loads torch; the answer
is kept, and the second look loads nothing. The plan is one of the recipes, written to a file.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gradatim.find import read_plan_document
from gradatim.plan import write_yaml
from support.harness import in_turn, medians, options, show


def seconds(command: list[str], cache: Path) -> float:
    """Wall time of a process.

    Args:
        command: what runs, with the interpreter that runs this.
        cache: the folder that stands for the user's cache.
    """
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    begun = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL, env=environment)
    return time.perf_counter() - begun


def main() -> None:
    """Measure and print."""
    parser = options("Time that `gradatim --help` and `gradatim plan` take, beside `import torch`.")
    parser.add_argument("--recipe", default="maefuse/small", help="the plan, as SYSTEM/RECIPE")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        plan, kept = folder / "plan.yaml", folder / "kept"
        plan.write_text(write_yaml(read_plan_document(chosen.recipe).tree))
        script = "from gradatim.cli import script; script()"

        def look(cache: Path) -> float:
            return seconds(["-c", script, "plan", str(plan)], cache)

        def first_look() -> float:
            with tempfile.TemporaryDirectory(dir=folder) as empty:
                return look(Path(empty))

        look(kept)
        found = medians(
            in_turn(
                {
                    "torch": lambda: seconds(["-c", "import torch"], kept),
                    "help": lambda: seconds(["-c", script, "--help"], kept),
                    "first_look": first_look,
                    "second_look": lambda: look(kept),
                },
                chosen.repeats,
            )
        )
    values = {f"{name}_s": value for name, value in found.items()}
    values["first_look_over_torch"] = found["first_look"] / found["torch"]
    show(
        f"Seconds before the command line answers ({chosen.recipe}), median of {chosen.repeats}",
        [
            ("import torch alone", f"{found['torch']:.2f}"),
            ("gradatim --help", f"{found['help']:.2f}"),
            ("gradatim plan, first look", f"{found['first_look']:.2f}, {values['first_look_over_torch']:.2f} of torch"),
            ("gradatim plan, second look", f"{found['second_look']:.2f}"),
        ],
        values,
        as_json=chosen.json,
    )


if __name__ == "__main__":
    main()
