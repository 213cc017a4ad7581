"""No file of the folder is left out: each is claimed by a test of this package; every checkpoint is read whole."""

import pytest

from gradatim import load_model
from gradatim.systems.bombkd.checkpoints import read_checkpoint
from gradatim.systems.bombkd.layouts import LAYOUTS
from gradatim.systems.bombkd.model import PARTS, BombKDSettings
from gradatim.weights import transfer, translate
from parity.support import check_claims

CLAIMED = {
    "converters.*": "test_parts",
    "fusion.*": "test_parts",
    "vad_head.*": "test_parts",
    "losses.*": "test_losses",
    "metrics.*": "test_losses",
    "backbones.*": "test_backbones",
    "datasets.json": "test_datasets",
    "features_expected.npz": "test_feature_files",
    "behaviour.json": "test_feature_files",
    "feature_cls.*": "test_feature_cls",
    "training.json": "test_training",
    "pipeline_logits.npz": "test_training",
    "format_sample/*.pt": "test_every_file and test_training",
    "format_sample/*": "test_feature_files",
    "README.md": "for people",
}


@pytest.mark.parity
def test_every_file_is_claimed_by_a_test(parity_root):
    check_claims(parity_root / "bombkd", CLAIMED, least=40)


@pytest.mark.parity
def test_every_checkpoint_is_read_whole_and_fills_the_parts_that_it_tells(parity_root):
    paths = sorted((parity_root / "bombkd" / "format_sample").rglob("*.pt"))
    arrays = 0
    for path in paths:
        found = read_checkpoint(path)
        settings = BombKDSettings(**found.settings)
        made = translate(LAYOUTS[found.layout], found.weights.arrays).made
        names = dict.fromkeys(name.partition(".")[0] for name in made)
        parts = {name: PARTS[name](settings) for name in names}
        for account in transfer(found.weights, parts, layout=LAYOUTS[found.layout]):
            assert account.complete, path
            arrays += account.arrays[0]
        assert load_model(path, system="bombkd").settings == settings, path
    assert len(paths) >= 6
    print(f"{len(paths)} checkpoints, {arrays} arrays")
