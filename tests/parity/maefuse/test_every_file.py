"""No file of the folder is left out: each is claimed by a test of this package."""

from fnmatch import fnmatch

import pytest

CLAIMED = {
    "positions*": "test_parts",
    "mae*": "test_parts",
    "fusion*": "test_parts",
    "legacy*": "test_parts",
    "model*": "test_model",
    "full_model*": "test_model",
    "losses*": "test_losses",
    "ckpt*/*": "test_checkpoints",
    "image_io*": "test_image_io",
    "end_to_end*": "test_end_to_end",
    "metrics*": "test_metrics",
    "README.md": "for people",
}


@pytest.mark.parity
def test_every_file_is_claimed_by_a_test(parity_root):
    folder = parity_root / "maefuse"
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]

    unclaimed = [name for name in files if not any(fnmatch(name, pattern) for pattern in CLAIMED)]

    assert not unclaimed
    assert len(files) >= 20
    print(f"{len(files)} files of maefuse, all claimed")
