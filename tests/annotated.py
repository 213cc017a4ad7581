"""Small annotated pictures for tests."""

from pathlib import Path

import numpy as np
import torch

from gradatim.data.image import write_image
from gradatim.systems.multigriddet.detections import from_letterbox


def picture(path: Path, size=(20, 30), seed: int = 0) -> Path:
    """Write a picture of noise, (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))
    return path


def brought_back(boxes, place, *, published=False):
    """Corners (N, 4) in the pixels of the network's input, as corners in those of the picture."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    both = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], 1)
    relative = torch.from_numpy(both / np.array([place.target[1], place.target[0]] * 2))
    found = from_letterbox(relative, place, published=published).numpy()
    return np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], 1)


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
