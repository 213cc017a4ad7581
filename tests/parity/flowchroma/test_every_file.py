"""No file of the folder and no case of its index is left out: each is claimed by a test of this package, or excused."""

from fnmatch import fnmatch

import pytest

from parity.flowchroma.support import index_of
from parity.support import check_claims

CLAIMED = {
    "memflow_*.npz": "test_memflow",
    "keys_memflow.json": "test_memflow",
    "swin_embed.npz": "test_swintexco",
    "warpnet*.npz": "test_swintexco",
    "colorvidnet*.npz": "test_swintexco",
    "local_averages.npz": "test_swintexco",
    "keys_embed_net.json": "test_swintexco",
    "keys_nonlocal_net.json": "test_swintexco",
    "keys_colornet*.json": "test_swintexco",
    "fusion_*.npz": "test_fusion",
    "gan.npz": "test_fusion",
    "keys_fusion_*.json": "test_fusion",
    "keys_discriminator.json": "test_fusion",
    "losses_memflow.npz": "test_memflow_losses",
    "losses_fusion.npz": "test_color_losses",
    "losses_swintexco.npz": "test_color_losses",
    "metrics.npz": "test_metrics",
    "colour.npz": "test_color",
    "resize.npz": "test_color and test_data",
    "augmentation.npz": "test_data",
    "dataset_windows.npz": "test_data",
    "system_*.npz": "test_system",
    "index.json": "all of them, through their cases",
    "format/memflow_*.pth": "test_memflow_files",
    "format/swintexco_*/*.pth": "test_color_files",
    "format/fusion_*.pth": "test_color_files",
    "format/schedules.json": "test_schedules",
    "format/NOTE.md": "for people",
    "README.md": "for people",
}
LEFT_OUT: dict[str, str] = {}


@pytest.mark.parity
def test_every_file_is_claimed_by_a_test(parity_root):
    check_claims(parity_root / "flowchroma", CLAIMED | LEFT_OUT, least=40)
    assert not [name for name in LEFT_OUT if any(fnmatch(name, pattern) for pattern in CLAIMED)]


@pytest.mark.parity
def test_every_case_is_claimed_by_a_test(parity_root):
    files = {name: told["file"] for name, told in index_of(parity_root).items()}
    unclaimed = [name for name, file in files.items() if not any(fnmatch(file, pattern) for pattern in CLAIMED)]
    assert not unclaimed, f"claimed by no test: {unclaimed}"
    assert len(files) >= 25
