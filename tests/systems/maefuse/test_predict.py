"""From files to fused files: tiles, modes, names, and what is refused before work starts."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from gradatim.data.image import read_image
from gradatim.errors import DataError, MissingExtraError
from gradatim.systems.maefuse.predict import fuse_native, fuse_pairs, fuse_resized, plan_jobs
from gradatim.systems.maefuse.tiles import fuse_tiled, tile_starts, window
from pictures import pair_root, picture, save

SIZE = (8, 12)


def keep_visible(visible, infrared):
    return visible


def keep_infrared(visible, infrared):
    return infrared


def run(jobs, fuse=keep_visible, **options):
    return list(fuse_pairs(jobs, fuse, size=SIZE, **options))


@pytest.mark.parametrize("shape", [(8, 12), (5, 7), (3, 40), (1, 1), (21, 13), (30, 50)])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_tiles_of_an_unchanged_picture_blend_to_that_picture(shape, batch_size):
    plane = np.random.default_rng(0).random(shape)
    other = np.zeros(shape)
    blended = fuse_tiled(plane, other, keep_visible, size=SIZE, overlap=0.3, batch_size=batch_size)
    np.testing.assert_allclose(blended, plane, atol=1e-7)
    np.testing.assert_allclose(fuse_tiled(other, plane, keep_infrared, size=SIZE), plane, atol=1e-7)


def test_tiles_cover_a_side_evenly_with_their_overlap():
    for length in range(10, 60):
        starts = tile_starts(length, 10, 0.25)
        assert starts[0] == 0
        assert starts[-1] == length - 10
        assert all(0 < second - first <= 7 for first, second in pairwise(starts))
    assert tile_starts(10, 10, 0.25) == [0]


def test_tiles_that_disagree_leave_no_edge():
    calls = iter(range(100))

    def unsteady(visible, infrared):
        return torch.stack([torch.full_like(one, 0.4 + 0.2 * (next(calls) % 2)) for one in visible])

    blended = fuse_tiled(np.zeros((16, 64)), np.zeros((16, 64)), unsteady, size=(16, 16), overlap=0.5)
    assert np.ptp(blended) > 0.1
    assert (
        np.abs(np.diff(blended, axis=1)).max() < 0.2 * np.pi / 2 / 8
    )  # the steepest slope of a squared sine over the overlap


def test_every_pixel_of_a_tile_has_weight():
    assert window((5, 8)).min() > 0
    assert window((5, 8)).argmax() in (19, 20)


def test_color_survives_and_only_luminance_is_replaced():
    visible, infrared = picture(0, (20, 30)), picture(1, (20, 30))
    np.testing.assert_array_equal(fuse_native(visible, infrared, keep_visible, size=SIZE), visible)
    gray = np.dstack([picture(2, (20, 30), channels=1)] * 3)
    fused = fuse_native(visible // 4 + 96, gray // 4 + 96, keep_infrared, size=SIZE).astype(float)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(fused @ weights, gray[:, :, 0] // 4 + 96, atol=0.6)
    chroma = [image - (image @ weights)[:, :, None] for image in (fused, visible // 4 + 96.0)]
    np.testing.assert_allclose(chroma[0], chroma[1], atol=1.1)


def test_resizing_keeps_the_visible_size_and_a_flat_picture():
    visible = np.full((20, 31, 3), (90, 140, 30), np.uint8)
    np.testing.assert_array_equal(fuse_resized(visible, visible, keep_visible, size=SIZE), visible)


def test_values_out_of_range_are_clipped_and_values_that_are_no_numbers_refused(tmp_path):
    plane = np.full((8, 12), 0.5)
    assert fuse_tiled(plane, plane, lambda visible, _: visible + 3, size=SIZE).max() == pytest.approx(1)
    jobs = plan_jobs(pair_root(tmp_path), None, tmp_path / "out")
    with pytest.raises(DataError, match="pair 'a': the model's output is not finite"):
        run(jobs, lambda visible, _: visible * torch.nan)


@pytest.mark.parametrize(("mode", "name"), [("native", "a.png"), ("resize", "a.png"), ("original", "a.BMP")])
def test_a_folder_is_fused_under_the_names_of_the_mode(tmp_path, mode, name):
    if mode == "original":
        pytest.importorskip("cv2")
    root = pair_root(tmp_path / "in", ("a", "b"), suffix=".BMP")
    jobs = plan_jobs(root / "vi", root / "ir", tmp_path / "out" / "deep", mode=mode)
    done = [job.output.name for job in fuse_pairs(jobs, keep_visible, size=SIZE, mode=mode)]
    assert done == [name, name.replace("a", "b")]
    assert sorted(path.name for path in (tmp_path / "out" / "deep").iterdir()) == done
    assert read_image(tmp_path / "out" / "deep" / name).shape == (12, 16, 3)


def test_results_come_one_by_one(tmp_path):
    jobs = plan_jobs(pair_root(tmp_path), None, tmp_path / "out")
    iterator = fuse_pairs(jobs, keep_visible, size=SIZE)
    next(iterator)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]


def test_two_files_of_different_names_make_one_file(tmp_path):
    visible = save(tmp_path / "day.jpg", picture(0))
    infrared = save(tmp_path / "heat.tif", picture(1, channels=1).astype(np.uint16) * 257)
    run(plan_jobs(visible, infrared, tmp_path / "result.png"), keep_infrared)
    run(plan_jobs(visible, infrared, tmp_path / "folder"))
    assert (tmp_path / "folder" / "day.png").is_file()
    np.testing.assert_array_equal(read_image(tmp_path / "folder" / "day.png"), read_image(visible))


def test_an_input_is_never_overwritten(tmp_path):
    root = pair_root(tmp_path)
    for output in (root / "vi", root / "ir"):
        with pytest.raises(DataError, match=r"a\.png: is an input, and would be overwritten") as error:
            plan_jobs(root, None, output)
        assert str(error.value).startswith("3 problem(s)")
    with pytest.raises(DataError, match="would be overwritten"):
        plan_jobs(root / "vi" / "a.png", root / "ir" / "a.png", root / "ir" / ".." / "ir" / "a.png")


def test_everything_wrong_is_said_before_anything_is_written(tmp_path):
    root = pair_root(tmp_path / "in")
    (root / "vi" / "b.png").write_bytes(b"")
    (root / "ir" / "c.png").unlink()
    (tmp_path / "out").write_text("a file")
    with pytest.raises(DataError) as error:
        plan_jobs(root, None, tmp_path / "out")
    for words in ("3 problem(s)", "no partner for 'c.png'", "b.png: the file is empty", "out: is a file; a folder"):
        assert words in str(error.value)


def test_wrong_places_and_modes_are_named(tmp_path):
    root = pair_root(tmp_path)
    with pytest.raises(DataError, match="gone: no such file or folder"):
        plan_jobs(root / "gone", root / "ir", tmp_path / "out")
    with pytest.raises(DataError, match="one is a file, the other a folder"):
        plan_jobs(root / "vi", root / "ir" / "a.png", tmp_path / "out")
    with pytest.raises(DataError, match=r"unknown mode 'nativ'\. Did you mean 'native'\?"):
        plan_jobs(root, None, tmp_path / "out", mode="nativ")


def test_the_original_mode_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gradatim\[opencv\]'"):
        plan_jobs(pair_root(tmp_path), None, tmp_path / "out", mode="original")
    run(plan_jobs(tmp_path, None, tmp_path / "out"))


def test_rounding_and_truncation_are_one_level_apart_at_most(tmp_path):
    pytest.importorskip("cv2")
    root = pair_root(tmp_path)
    results = {}
    for mode in ("original", "record"):
        run(plan_jobs(root, None, tmp_path / mode, mode=mode), lambda visible, _: visible + 0.6 / 255, mode=mode)
        results[mode] = read_image(tmp_path / mode / "a.png").astype(int)
    difference = results["record"] - results["original"]
    assert difference.max() > 0
    assert np.median(difference) == 1


def test_real_pairs_keep_their_size_and_color(data_root, tmp_path):
    roots = sorted(path for path in (data_root / "fusion").iterdir() if path.is_dir())
    assert roots
    for root in roots:
        job = plan_jobs(root, None, tmp_path / root.name, check="headers")[0]
        list(fuse_pairs([job], keep_visible, size=(128, 160)))
        np.testing.assert_array_equal(read_image(job.output), read_image(job.pair.visible))
