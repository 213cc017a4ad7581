"""No file of the folder is left out: each is claimed by a test of this package."""

import pytest

from parity.support import check_claims

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
    check_claims(parity_root / "maefuse", CLAIMED, least=20)
