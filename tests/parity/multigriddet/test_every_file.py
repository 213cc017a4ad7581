"""No file of the folder is left out: each is claimed by a test of this package."""

import pytest

from parity.support import check_claims

CLAIMED = {
    "keys_full.json": "test_networks",
    "forward_*.npz": "test_networks",
    "conv_bn_leaky_train.*": "test_networks",
    "resblock_eval.*": "test_networks",
    "checkpoints/*": "test_networks",
    "targets*": "test_losses",
    "iol.npz": "test_losses",
    "xy_activation.npz": "test_losses",
    "loss_*": "test_losses",
    "focal_losses.npz": "test_losses",
    "iou_losses.npz": "test_losses",
    "train_step.*": "test_losses",
    "postprocess.*": "test_detections",
    "metrics.json": "test_detections",
    "misc.json": "test_detections, test_mosaic and test_anchors",
    "letterbox_pil.npz": "test_letterbox",
    "mosaic_boxes_numpy.npz": "test_mosaic",
    "README.md": "for people",
}


@pytest.mark.parity
def test_every_file_is_claimed_by_a_test(parity_root):
    check_claims(parity_root / "multigriddet", CLAIMED, least=30)
