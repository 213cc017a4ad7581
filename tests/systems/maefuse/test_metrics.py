"""Metrics by their definitions, by an oracle, and at their edges."""

import math

import numpy as np
import pytest
import torch
from skimage.measure import shannon_entropy
from skimage.metrics import normalized_mutual_information, structural_similarity

from gradatim.systems.maefuse import metrics, structure, validation
from gradatim.systems.maefuse.metrics import NAMES, gray, measure
from pictures import picture

SIZE = (48, 52)
FUSED, VISIBLE, INFRARED = (picture(seed, SIZE, channels=1) for seed in range(3))


def tensors(*pictures):
    return [torch.from_numpy(one.astype(float)) for one in pictures]


def test_ssim_is_scikit_images_for_both_sources_summed():
    for data_range in (255, 2):
        ours = measure(FUSED, VISIBLE, INFRARED, data_range=data_range)["SSIM"]
        oracle = [structural_similarity(FUSED / 1.0, one / 1.0, data_range=data_range) for one in (VISIBLE, INFRARED)]
        assert ours == pytest.approx(sum(oracle), rel=1e-9)


def test_entropy_and_information_are_scikit_images():
    assert measure(FUSED, VISIBLE, INFRARED)["EN"] == pytest.approx(shannon_entropy(FUSED), rel=1e-12)
    # NMI = (H(X) + H(Y)) / H(X, Y), hence I = (H(X) + H(Y)) (1 - 1 / NMI).
    coarse = [one // 32 * 32 for one in (FUSED, VISIBLE, INFRARED)]
    expected = 0.0
    for source in coarse[1:]:
        both = (shannon_entropy(coarse[0]) + shannon_entropy(source)) * math.log(2)
        expected += both * (1 - 1 / normalized_mutual_information(coarse[0], source, bins=256))
    assert measure(*coarse)["MI"] == pytest.approx(expected, rel=1e-6)
    assert measure(*coarse, base=2)["MI"] == pytest.approx(expected / math.log(2), rel=1e-6)


def test_a_source_has_fidelity_one_to_itself():
    visible, infrared = tensors(VISIBLE, INFRARED)
    both = structure.vif(visible, visible, infrared)
    assert both - structure.vif(visible, infrared, infrared) / 2 == pytest.approx(1, abs=1e-6)


def test_flat_pictures_give_numbers():
    flat = np.full(SIZE, 7, np.uint8)
    values = measure(flat, flat, flat)
    assert values.pop("PSNR") == math.inf
    assert values.pop("Qabf") > 0.9  # the picture's border counts as an edge
    assert values == dict.fromkeys(set(NAMES) - {"PSNR", "Qabf"}, 0) | {"VIF": 2, "SSIM": pytest.approx(2)}
    assert all(math.isfinite(value) for name, value in measure(VISIBLE, VISIBLE, INFRARED).items() if name != "PSNR")


def test_names_are_in_the_order_of_papers_and_complete():
    assert tuple(measure(FUSED, VISIBLE, INFRARED)) == NAMES


def test_color_counts_by_its_gray_version():
    color = picture(5, SIZE)
    assert measure(color, VISIBLE, INFRARED) == measure(gray(color).astype(np.uint8), VISIBLE, INFRARED)


def test_gray_is_opencvs_single_precision_conversion_to_the_bit():
    cv2 = pytest.importorskip("cv2")
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    color = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(levels.size, -1, 3)
    oracle = np.round(cv2.cvtColor(color[:, :, ::-1].astype(np.float32), cv2.COLOR_BGR2GRAY))
    np.testing.assert_array_equal(gray(color), oracle)


def test_a_batch_is_measured_as_its_samples_are():
    stack = torch.stack(tensors(FUSED, VISIBLE, INFRARED))
    others = [stack.roll(shift, dims=0) for shift in (1, 2)]
    for function in (
        structure.ssim,
        structure.vif,
        structure.qabf,
        metrics.mutual_information,
        metrics.correlation,
        metrics.sum_of_correlations_of_differences,
        metrics.peak_signal_to_noise,
    ):
        one_by_one = [function(stack[i], others[0][i], others[1][i]) for i in range(3)]
        torch.testing.assert_close(function(stack, *others), torch.stack(one_by_one), msg=function.__name__)


def test_validation_measures_what_a_file_of_these_values_would_give():
    values = [torch.from_numpy(one / 255.0).float().expand(2, 3, -1, -1) for one in (FUSED, VISIBLE, INFRARED)]
    of_files = measure(FUSED, VISIBLE, INFRARED)
    names = {name.lower(): name for name in NAMES}
    assert set(validation.METRICS) == set(names)
    for name, function in validation.METRICS.items():
        arguments = values[: function.__code__.co_argcount]
        result = function(*arguments)
        assert result.shape == (2,)
        assert result[0].item() == pytest.approx(of_files[names[name]], rel=1e-3), name


def test_validation_clips_what_a_file_could_not_hold():
    image = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(0))
    outside = torch.where(image > 0.5, image + 5, image - 5)
    inside = (image > 0.5).float()
    assert validation.mse(outside, image, image) == pytest.approx(validation.mse(inside, image, image).item())
