"""Figures of colored sequences, and of folders of colored frames, whose values are known beforehand."""

import numpy as np
import pytest
import torch

from gradatim.data.image import read_image, write_image
from gradatim.errors import DataError
from gradatim.systems.flowchroma.color import levels_of_lab
from gradatim.systems.flowchroma.data import SequenceSettings, open_sequences
from gradatim.systems.flowchroma.evaluate import FUSED, GRAY, MATCHED, TRUTH, evaluate_coloring
from gradatim.systems.flowchroma.frame_folders import compare_folders, holds_scenes
from gradatim.systems.flowchroma.metrics import color_distribution_consistency, psnr, resized_for_comparison, ssim
from gradatim.systems.flowchroma.parts.carrying import Carrying
from gradatim.systems.flowchroma.parts.fusion import SimpleFusionNet
from pictures import picture, save
from systems.flowchroma.trees import video

LEVELS = 12.7
"""Distance of the made model's a and b to the true ones, in levels."""


@pytest.fixture(autouse=True)
def _colors():
    pytest.importorskip("cv2")


def sequences(*, split="all", **changes):
    drawn = {"count": 3, "frames": 6}
    return open_sequences(
        SequenceSettings.model_validate({"drawn": drawn, "length": 5, "size": 16, "match_size": 16, **changes}), split
    )


def off_by(**distance):
    """A model that colors rightly but for a constant, or for one in every other frame."""

    def compute(task, sample, want):
        assert task == "fuse_alone"
        fused = sample["frames"].clone()
        fused[:, distance.get("start", 0) :: distance.get("every", 1), 1:] += distance.get("by", 0) / 127
        return {"fused": fused, "matched": sample["frames"][:, :, 1:] / 2}

    return compute


def evaluated(compute, dataset, fusion=None, **options):
    return evaluate_coloring(compute, fusion or SimpleFusionNet(), dataset, **options)


def test_right_colors_are_as_good_as_can_be_and_an_infinite_psnr_is_bounded():
    found = evaluated(off_by(), sequences())

    for values in (found.means[FUSED], *(figures[FUSED] for figures in found.videos.values())):
        assert values["ssim"] == pytest.approx(1)
        assert values["psnr"] == 100
        assert values["color_error"] == values["flicker"] == 0
    assert found.means[FUSED]["cdc"] == found.means[TRUTH]["cdc"] > 0
    assert set(found.means[TRUTH]) == {"cdc"}


def test_a_constant_error_does_not_flicker_and_one_that_comes_and_goes_does():
    steady, flickering = (
        evaluated(off_by(by=LEVELS, every=every), sequences()).means[FUSED] for every in (1, 2)
    )  # fmt: skip

    assert steady["color_error"] == pytest.approx(LEVELS, rel=1e-4)
    assert steady["flicker"] == pytest.approx(0, abs=1e-3)
    assert flickering["color_error"] == pytest.approx(LEVELS * 3 / 5, rel=1e-4)
    assert flickering["flicker"] == pytest.approx(LEVELS, rel=1e-4)
    assert steady["psnr"] < flickering["psnr"] < 100


def test_baselines_are_gray_frames_and_the_matched_colors():
    dataset = sequences(limit=1)
    frames = dataset.sample(0, ("frames",), None)["frames"]
    expected = {GRAY: frames * torch.tensor([1.0, 0, 0])[:, None, None], MATCHED: frames.clone()}
    expected[MATCHED][:, 1:] /= 2

    (judged,) = evaluated(off_by(), dataset).sequences

    true = [levels_of_lab(lab) for lab in frames]
    for method, labs in expected.items():
        ours = [levels_of_lab(lab) for lab in labs]
        values = judged.figures[method]
        assert values["psnr"] == pytest.approx(np.mean([psnr(*pair) for pair in zip(ours, true, strict=True)]))
        assert values["ssim"] == pytest.approx(np.mean([ssim(*pair) for pair in zip(ours, true, strict=True)]))
        assert values["cdc"] == pytest.approx(color_distribution_consistency(ours))
        assert values["color_error"] == pytest.approx(float(127 * (labs - frames)[:, 1:].abs().mean()), rel=1e-4)
    assert judged.figures[GRAY]["color_error"] == pytest.approx(2 * judged.figures[MATCHED]["color_error"])


def test_every_video_counts_once_however_many_sequences_it_has():
    dataset = sequences(limit=4)
    assert [window.video.name[-1] for window in dataset.windows] == ["0", "1", "1", "2"]

    found = evaluated(off_by(by=LEVELS), dataset)

    gray = [one.figures[GRAY]["color_error"] for one in found.sequences]
    videos = [gray[0], np.mean(gray[1:3]), gray[3]]
    assert [figures[GRAY]["color_error"] for figures in found.videos.values()] == pytest.approx(videos)
    assert found.means[GRAY]["color_error"] == pytest.approx(np.mean(videos))
    assert np.mean(videos) != pytest.approx(np.mean(gray), rel=1e-6)


def test_sequences_that_are_too_short_have_no_cdc_and_that_is_said():
    short = evaluated(off_by(), sequences(length=4))

    assert all("cdc" not in values for values in short.means.values())
    assert short.notes == ("no CDC: it needs sequences of 5 frames or more, and these have 4.",)
    assert not evaluated(off_by(), sequences()).notes


def test_a_model_that_looks_at_true_colors_is_told():
    fusion = SimpleFusionNet()
    fusion.carrying = Carrying(target_ab="ground_truth")
    (note,) = evaluated(off_by(), sequences(limit=1), fusion).notes
    assert "was shown the true colors" in note


def test_training_sequences_are_not_changed_by_chance():
    dataset = sequences(split="train")
    first, again = (evaluated(off_by(), dataset).to_json() for _ in range(2))
    assert first == again


def test_pictures_have_rows_of_truth_gray_matched_fused_and_references(tmp_path):
    dataset, done = sequences(), []

    found = evaluated(
        off_by(), dataset, out=tmp_path, pictures=2, progress=lambda *numbers: done.append(numbers)
    )  # fmt: skip

    assert [path.name for path in found.written] == ["00001-drawn_00000-0001.png", "00004-drawn_00002-0000.png"]
    assert sorted(tmp_path.iterdir()) == list(found.written)
    assert done == [(n, 6) for n in range(7)]
    sheet, sample = read_image(found.written[0]), dataset.sample(1, ("frames", "references"), None)
    assert sheet.shape == (5 * 20 - 4, 5 * 20 - 4, 3)
    true = [levels_of_lab(lab) for lab in sample["frames"]]
    rows = [sheet[top : top + 16] for top in range(0, 100, 20)]
    for row in (rows[0], rows[3]):
        assert all(np.array_equal(row[:, 20 * n : 20 * n + 16], frame) for n, frame in enumerate(true))
    assert np.ptp(rows[1][:, :16].astype(int), axis=2).max() <= 2
    half = sample["frames"][0] * torch.tensor([1.0, 0.5, 0.5])[:, None, None]
    assert np.array_equal(rows[2][:, :16], levels_of_lab(half))
    assert np.array_equal(rows[4][:, :16], levels_of_lab(sample["references"][0]))
    assert (rows[4][:, 16:] == 255).all()


def test_samples_without_references_cannot_be_colored():
    with pytest.raises(DataError, match=r"set data\.samples to fusion"):
        evaluated(off_by(), sequences(samples="flow"))


def colored_and_true(root, scenes=("a", "b"), count=5):
    """Folders of frames, colored ones with another suffix, some levels off in the second scene."""
    for number, name in enumerate(scenes):
        video(root / "true" / name, count, seed=10 * number, size=(24, 32))
        for path in sorted((root / "true" / name).iterdir()):
            frame = read_image(path)
            write_image(root / "colored" / name / f"{path.stem}.bmp", np.clip(frame, 0, 255 - 9 * number) + 9 * number)
    return root / "colored", root / "true"


@pytest.fixture
def folders(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "colored" / name).mkdir(parents=True)
    return colored_and_true(tmp_path)


def test_folders_are_compared_scene_by_scene_at_the_published_size(folders):
    colored, true = folders

    found = compare_folders(colored, true)

    first, second = found.scenes
    assert (first.name, first.frames, first.psnr.mean, first.psnr.std) == ("a", 5, 100, 0)
    assert first.ssim.mean == pytest.approx(1)
    pairs = [
        [resized_for_comparison(read_image(folder / "b" / f"f{n}{suffix}")) for folder, suffix in names]
        for n in range(5)
        for names in [((colored, ".bmp"), (true, ".png"))]
    ]
    noise, similar = [psnr(*pair) for pair in pairs], [ssim(*pair) for pair in pairs]
    assert (second.psnr.mean, second.psnr.std) == pytest.approx((np.mean(noise), np.std(noise)))
    assert (second.ssim.mean, second.ssim.std) == pytest.approx((np.mean(similar), np.std(similar)))
    own = [read_image(colored / "b" / f"f{n}.bmp") for n in range(5)]
    assert second.cdc == pytest.approx(color_distribution_consistency(own))
    over = found.over_scenes
    assert (over["psnr"].mean, over["psnr"].std) == pytest.approx(
        ((100 + np.mean(noise)) / 2, (100 - np.mean(noise)) / 2)
    )
    assert over["cdc"].mean == pytest.approx((first.cdc + second.cdc) / 2)
    assert first.cdc == first.true_cdc != second.cdc != second.true_cdc
    assert not found.notes


def test_what_was_not_colored_is_noted(folders):
    colored, true = folders
    video(true / "c", 2)
    (colored / "a" / "f1.bmp").unlink()

    found = compare_folders(colored, true)

    assert [(one.name, one.frames) for one in found.scenes] == [("a", 4), ("b", 5)]
    assert found.scenes[0].cdc is None
    assert found.over_scenes["cdc"].mean == found.scenes[1].cdc
    assert found.notes == (
        "scene 'a': 1 of 5 true frames were not colored: f1.png.",
        "1 of 3 true scenes were not colored: c.",
        "no CDC, which needs 5 frames or more, of scene(s) a.",
    )


def test_what_has_no_true_partner_is_an_error_all_at_once(folders):
    colored, true = folders
    save(colored / "a" / "f7.png", picture())
    save(colored / "b" / "f2.png", picture())
    save(colored / "d" / "f0.png", picture())
    (colored / "empty").mkdir()

    with pytest.raises(DataError) as error:
        compare_folders(colored, true)

    lines = [line.strip() for line in str(error.value).splitlines()[1:]]
    assert lines == [
        f"{colored / 'b'}: 'f2.bmp' and 'f2.png' have the same name.",
        f"{colored / 'empty'}: holds no picture.",
        f"{colored / 'a' / 'f7.png'}: no true frame of this name.",
        f"{colored / 'd'}: there is no scene of this name in {true}.",
    ]
    with pytest.raises(DataError, match="gone: no such folder"):
        compare_folders(colored, true / "gone")


def test_a_folder_of_scenes_is_told_from_one_of_pictures(folders, tmp_path):
    colored, _ = folders
    assert holds_scenes(colored)
    assert not holds_scenes(colored / "a")
    assert not holds_scenes(tmp_path / "gone")
