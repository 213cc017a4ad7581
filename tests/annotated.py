"""Small annotated pictures for tests."""

from pathlib import Path

import numpy as np

from gradatim.data.image import write_image


def picture(path: Path, size=(20, 30), seed: int = 0) -> Path:
    """Write a picture of noise, (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def yolo_folder(
    root: Path, labels: dict[str, str | bytes | None], *, split: str = "train", names=("cat", "dog")
) -> Path:
    """Write a YOLO folder: stem -> content of the label file, None for none; pictures are 20 x 30."""
    for number, (stem, content) in enumerate(labels.items()):
        picture(root / "images" / split / f"{stem}.png", seed=number)
        path = root / "labels" / split / f"{stem}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if names:
        (root / "classes.txt").write_text("\n".join(names) + "\n")
    return root
