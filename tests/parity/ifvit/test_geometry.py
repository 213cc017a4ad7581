"""Our corruptions, masks, patches and alignments beside the original's."""

import numpy as np
import pytest
import torch

from gradatim.systems.ifvit.corruption import thinned, widened, within
from gradatim.systems.ifvit.geometry import cell_points, robust_motion
from gradatim.systems.ifvit.overlap import center_of, overlap, patch, ridge_mask
from gradatim.systems.ifvit.warping import Warp, motion, moved
from parity.support import Case

pytestmark = pytest.mark.parity


@pytest.fixture
def case(parity_root):
    def read(name):
        return Case(parity_root / "ifvit" / f"{name}.npz")

    return read


def picture(case, name):
    return case.input(name).numpy()


def test_masks_overlap_and_patches_equal_the_originals(case):
    ours = case("overlap_roi")
    first, second = picture(ours, "enh1"), picture(ours, "enh2")
    masks = ridge_mask(first), ridge_mask(second)
    both = overlap(*masks)
    ours.check("mask1", torch.from_numpy(masks[0].astype(np.uint8)))
    ours.check("mask2", torch.from_numpy(masks[1].astype(np.uint8)))
    ours.check("overlap", torch.from_numpy(both.astype(np.uint8)))
    ours.check("over1", torch.from_numpy((first * both)[..., None]), atol=0)
    for number, image in ((1, first), (2, second)):
        ours.check(f"roi{number}", torch.from_numpy(patch(image, center_of(both), 90)[..., None]), atol=0)
    nothing = np.zeros_like(both)
    ours.check("roi1_empty_overlap", torch.from_numpy(patch(first, center_of(nothing), 90)[..., None]), atol=0)
    ours.close()


def test_a_corrupted_copy_and_its_points_equal_the_originals(case):
    ours = case("augment")
    image = picture(ours, "img")
    angle = float(ours.input("angle"))
    warp = Warp(motion((image.shape[1] / 2, image.shape[0] / 2), degrees=angle))
    ours.check("transform", torch.from_numpy(warp.matrix.astype(np.float32)), atol=1e-5)
    values = image.astype(np.float32)
    ours.check("eroded", torch.from_numpy(widened(values).astype(np.uint8)), atol=0)
    ours.check("dilated", torch.from_numpy(thinned(values).astype(np.uint8)), atol=0)
    ours.check("rotated", torch.from_numpy(warp.picture(values, fill=0)), atol=0.01)
    points = picture(ours, "gt")
    found = warp(points[:, :2].astype(np.float64))
    ours.check("gt", torch.from_numpy(np.concatenate([points[:, :2], found], axis=1).astype(np.float32)), atol=1e-4)
    assert np.array_equal(picture(ours, "valid"), within(found, image.shape))
    ours.close()


def test_points_and_motion_of_matches_equal_the_originals(case):
    ours = case("alignment")
    matches = ours.input("matches").numpy().astype(np.int64)
    size, grid = (tuple(ours.input(name).tolist()) for name in ("img_hw", "feat_hw"))
    first, second = (cell_points(matches[:, side], grid, size, corners=True) for side in (0, 1))
    ours.check("pts1", torch.from_numpy(first.astype(np.float32)), atol=0)
    ours.check("pts2", torch.from_numpy(second.astype(np.float32)), atol=0)
    found = robust_motion(first, second, np.random.default_rng(0), model="homography")
    # Matrices are equal only up to what no point shows; so where points come to lie is compared.
    theirs = moved(first, picture(ours, "H").astype(np.float64))
    np.testing.assert_allclose(moved(first, found.matrix), theirs, atol=1e-3)
    assert np.array_equal(picture(ours, "inliers")[:, 0].astype(bool), found.inliers)
    ours.close()
