"""FingerNet: its files, what they are refused for, and what the network and its enhancer promise."""

import h5py
import numpy as np
import pytest
import torch

from gradatim import load_model
from gradatim.errors import DataError, FormatError, WeightsError
from gradatim.systems.ifvit.enhancement import Enhancer, enhanced
from gradatim.systems.ifvit.fingernet import FingerNetEnhancer, find_minutiae, load_fingernet
from gradatim.systems.ifvit.fingernet_layouts import OUTPUTS, UNITS
from gradatim.systems.ifvit.layouts import LAYOUTS
from gradatim.systems.ifvit.parts.fingernet import FingerNet, evened
from gradatim.weights import read_weights, transfer

NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def drawn_network():
    """FingerNet whose arrays are all drawn, statistics too."""
    torch.manual_seed(0)
    network = FingerNet().eval()
    for name, array in network.state_dict().items():
        if not name.startswith("gabor") and array.dim() == 1:
            array.copy_(0.5 + 0.5 * torch.rand(array.shape))
    return network


def layers_of(network):
    """Arrays of the network by layer, each layer's in Keras' order."""
    state = {name: array.numpy() for name, array in network.state_dict().items()}
    layers = {}
    for ours, name in {**{f"{unit}.conv": name for unit, (name, _) in UNITS.items()}, **OUTPUTS}.items():
        layers[name] = {"kernel": state[f"{ours}.weight"].transpose(2, 3, 1, 0), "bias": state[f"{ours}.bias"]}
    for unit, (_, end) in UNITS.items():
        layers[f"bn-{end}"] = {theirs: state[f"{unit}.norm.{array}"] for array, theirs in NORM.items()}
        layers[f"prelu-{end}"] = {"alpha": state[f"{unit}.slope.weight"][None, None]}
    return layers


def write_keras(path, layers, *, scope="{}"):
    """Weights as Keras 2.0 writes them: a group for each layer, also for one without arrays."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = np.array([name.encode() for name in ["input_1", *layers]])
        file.create_group("input_1").attrs["weight_names"] = np.zeros(0, "S1")
        for name, arrays in layers.items():
            group = file.create_group(name)
            full = {f"{scope.format(name)}/{array}:0": value for array, value in arrays.items()}
            group.attrs["weight_names"] = np.array([key.encode() for key in full])
            for key, value in full.items():
                group[key] = value
    return path


def write_npz(path, layers):
    """The same arrays by number, with the layers' classes as text."""
    arrays = {f"{name}/weight_{n}": value for name, layer in layers.items() for n, value in enumerate(layer.values())}
    np.savez(path, **arrays, **{f"{name}/__class__": "Conv2D" for name in layers})
    return path


@pytest.fixture(scope="module")
def network():
    return drawn_network()


@pytest.fixture(scope="module")
def layers(network):
    return layers_of(network)


@pytest.fixture(scope="module")
def picture():
    """Ridges 9 pixels apart, turning slowly, with an empty rim: (45, 52)."""
    y, x = np.mgrid[:45, :52]
    ridges = 0.5 + 0.4 * np.cos(2 * np.pi * (x + 0.02 * y**2) / 9)
    rim = (np.hypot(x - 26, y - 22) > 20) | (y < 3)
    return np.where(rim, 1, ridges).astype(np.float32)


def same(first, second):
    state = second.state_dict()
    return all(torch.equal(array, state[name]) for name, array in first.state_dict().items())


def refusal(path, **keywords):
    with pytest.raises(WeightsError) as error:
        load_fingernet(path, **keywords)
    return str(error.value)


def test_a_keras_file_gives_every_array(tmp_path, network, layers):
    loaded = load_fingernet(write_keras(tmp_path / "Model.model", layers))
    assert same(network, loaded)
    assert not loaded.training


def test_arrays_that_keras_wrote_in_a_second_graph_are_known_by_their_layers(tmp_path, network, layers):
    assert same(network, load_fingernet(write_keras(tmp_path / "f.h5", layers, scope="{}_1")))


def test_an_npz_gives_every_array_and_its_text_is_left(tmp_path, network, layers):
    path = write_npz(tmp_path / "f.npz", layers)
    assert same(network, load_fingernet(path))
    assert read_weights(path).notes == ("not read, since it is text: 'conv1_1/__class__', ... and 78 more",)


def test_a_whole_model_brings_its_own_filters(tmp_path, layers):
    filters = {
        f"enh_img_{name}_1": {"kernel": np.full((25, 25, 1, 90), value, np.float32), "bias": np.zeros(90, np.float32)}
        for name, value in (("real", 2), ("imag", 3))
    }
    gabor = load_fingernet(write_keras(tmp_path / "f.h5", layers | filters)).gabor
    assert (gabor.real == 2).all()
    assert (gabor.imaginary == 3).all()


def test_a_file_with_a_missing_layer_is_refused_with_the_account_and_nothing_is_loaded(tmp_path, layers):
    path = write_keras(tmp_path / "f.h5", {name: layer for name, layer in layers.items() if name != "convmnt_o_1_1"})
    fresh, same_seed = (FingerNet() for _ in range(2))
    same_seed.load_state_dict(fresh.state_dict())

    with pytest.raises(WeightsError) as error:
        transfer(read_weights(path), {"fingernet": fresh}, layouts=LAYOUTS)

    assert "does not fit (layout 'fingernet'); nothing was changed" in str(error.value)
    assert "loaded 179 of 185 arrays" in str(error.value)
    assert "missing in the file (2): minutiae.angle.unit.conv.weight, minutiae.angle.unit.conv.bias" in refusal(path)
    assert same(fresh, same_seed)


def test_layers_under_shifted_names_are_refused_and_named(tmp_path, layers):
    shifted = {("conv1_3" if name == "conv1_1" else name): layer for name, layer in layers.items()}
    found = refusal(write_keras(tmp_path / "f.h5", shifted))
    assert "missing in the file (2): stem.0.conv.weight, stem.0.conv.bias" in found
    assert "unexpected in the file (2): conv1_3/kernel, conv1_3/bias" in found


def test_a_kernel_of_another_size_is_refused(tmp_path, layers):
    wide = layers | {"seg_1_2": {"kernel": np.zeros((1, 1, 128, 2)), "bias": np.zeros(2)}}
    found = refusal(write_keras(tmp_path / "f.h5", wide))
    assert "branches.0.segmentation.out.weight: file has (2, 128, 1, 1), part needs (1, 128, 1, 1)" in found


def test_an_npz_with_objects_is_refused_and_not_unpickled(tmp_path):
    np.savez(tmp_path / "f.npz", **{"conv1_1/__class__": np.array(["Conv2D"], dtype=object)})
    with pytest.raises(FormatError, match="an array that cannot be read"):
        load_fingernet(tmp_path / "f.npz")


def test_a_network_that_is_no_part_of_a_model_makes_no_model(tmp_path, layers):
    with pytest.raises(WeightsError) as error:
        load_model(write_keras(tmp_path / "f.h5", layers), system="ifvit")
    assert str(error.value) == (
        f"{tmp_path}/f.h5: layout 'fingernet' is of fingernet, which is no part of a model of 'ifvit' "
        "(backbone, transformer, local_transformer, embedding, centers)"
    )


@torch.no_grad()
def test_the_programs_compute_different_things_from_equal_arrays(tmp_path, network, layers):
    flax = load_fingernet(write_keras(tmp_path / "f.h5", layers), semantics="flax")
    image = torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert (flax.ridges(image).enhanced - network.ridges(image).enhanced).abs().max() > 0.1


@torch.no_grad()
def test_a_batch_gives_what_its_prints_give_alone(network):
    images = torch.rand(2, 1, 24, 16, generator=torch.Generator().manual_seed(1))
    both = [values for maps in network(images) for values in maps]
    halves = ([values for maps in network(image[None]) for values in maps] for image in images)
    alone = [torch.cat(pair) for pair in zip(*halves, strict=True)]
    assert [tuple(values.shape[1:]) for values in both] == [
        *((1, 24, 16), (1, 24, 16), (90, 3, 2), (1, 3, 2)),
        *((180, 3, 2), (8, 3, 2), (8, 3, 2), (1, 3, 2)),
    ]
    for values, expected in zip(both, alone, strict=True):
        torch.testing.assert_close(values, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_mixed_kernels_give_what_weighted_responses_of_all_filters_give(network):
    generator = torch.Generator().manual_seed(1)
    image, directions = torch.rand(2, 1, 16, 24, generator=generator), torch.rand(2, 90, 2, 3, generator=generator)
    weights = torch.nn.functional.interpolate(directions, scale_factor=8)

    banks = (network.gabor.real, network.gabor.imaginary)
    for found, filters in zip(network.gabor(image, directions), banks, strict=True):
        expected = (torch.nn.functional.conv2d(image, filters, padding=12) * weights).sum(1, keepdim=True)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_sides_that_are_no_multiples_of_eight_are_refused_by_the_network_and_taken_by_the_enhancer(network, picture):
    with pytest.raises(DataError, match="a print of 45 x 52 pixels: FingerNet needs multiples of 8"):
        network(torch.from_numpy(picture)[None, None])

    mask = np.ones(picture.shape, bool)
    clear = FingerNetEnhancer(network)(picture, mask)

    assert (clear.shape, clear.dtype) == (picture.shape, np.float32)
    assert 0 <= clear.min() < 0.3 < 0.7 < clear.max() <= 1


def test_the_classical_and_the_network_enhancer_are_interchangeable(network, picture):
    mask = np.zeros(picture.shape, bool)
    mask[8:40, 8:40] = True
    enhancers: list[Enhancer] = [enhanced, FingerNetEnhancer(network)]
    for make_clear in enhancers:
        clear = make_clear(picture, mask)
        assert (clear.shape, clear.dtype) == (picture.shape, np.float32)
        assert (clear[~mask] == 1).all()
        assert clear[mask].std() > 0.2
        assert (make_clear(picture, np.zeros_like(mask)) == 1).all()
        assert make_clear(picture).shape == picture.shape


@torch.no_grad()
def test_a_filter_across_the_ridges_keeps_them_dark_and_one_along_them_sees_nothing(network):
    columns = torch.arange(48)
    image = (0.5 + 0.5 * torch.cos(2 * torch.pi * columns / 8)).expand(1, 1, 48, 48)
    across, along = (torch.zeros(1, 90, 6, 6).index_fill_(1, torch.tensor(n), 1.0) for n in (0, 45))

    clear, empty = (network.gabor(image, direction)[0][0, 0, 12:-12, 12:-12] for direction in (across, along))

    assert (clear[:, columns[12:-12] % 8 == 0] > 50).all()
    assert (clear[:, columns[12:-12] % 8 == 4] < -50).all()
    assert empty.abs().max() < 1


def test_an_even_print_stays_finite(network):
    assert not evened(torch.ones(1, 1, 8, 8)).any()
    assert (FingerNetEnhancer(network)(np.ones((8, 8), np.float32), np.ones((8, 8), bool)) <= 1).all()


def test_minutiae_lie_within_the_print_and_the_foreground(network, picture):
    everywhere = drawn_network()
    for branch in everywhere.branches:
        branch.segmentation.out.bias.data += 100
    found = find_minutiae(everywhere, picture, threshold=-1)
    assert 0 < len(found) <= 42
    assert (found[:, :2] < picture.shape[::-1]).all()
    for branch in everywhere.branches:
        branch.segmentation.out.bias.data -= 1000
    assert find_minutiae(everywhere, picture, threshold=-1).shape == (0, 4)
