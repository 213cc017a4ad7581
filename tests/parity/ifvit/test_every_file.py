"""No file of the folder is left out: each is claimed by a test of this package."""

import pytest

from parity.support import check_claims

CLAIMED = {
    "keys.json": "all",
    "resnet18_*.npz": "test_networks",
    "pos_encoding.npz": "test_networks",
    "jax_transformer.npz": "test_networks",
    "siamese_transformer.npz": "test_networks",
    "matching_head.npz": "test_networks",
    "embedding_head.npz": "test_networks",
    "module1.npz": "test_networks",
    "module2.npz": "test_networks",
    "module2_generic.npz": "test_networks",
    "loftr_true.npz": "test_networks",
    "loss_*.npz": "test_losses",
    "format/*": "test_files",
    "augment.npz": "test_geometry",
    "overlap_roi.npz": "test_geometry",
    "alignment.npz": "test_geometry",
    "metrics.npz": "test_metrics",
    "fingernet_*.npz": "test_fingernet",
    "README.md": "for people",
}


@pytest.mark.parity
def test_every_file_is_claimed_by_a_test(parity_root):
    check_claims(parity_root / "ifvit", CLAIMED, least=25)
