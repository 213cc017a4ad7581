"""Files as the original's programs write them are read, recognised, loaded and give the original's outputs.

What a file is is found out from its arrays; nothing depends on its name.
"""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradatim.errors import WeightsError
from gradatim.systems.maefuse.layouts import LAYOUTS
from gradatim.systems.maefuse.model import MaeFuseSettings
from gradatim.weights import Account, Weights, Wish, read_weights, transfer, translate
from parity.maefuse.support import Case, build, grid_of, settings_of
from parity.support import fill_rule

pytestmark = pytest.mark.parity
FEEDS = {
    "mae": ("encoder", "decoder"),
    "head": ("cfm", "mfm"),
    "whole": ("encoder", "decoder", "cfm", "mfm"),
    "facebook": ("encoder", "decoder"),
}


@pytest.fixture
def folder(parity_root) -> Path:
    (found,) = (path for path in (parity_root / "maefuse").glob("ckpt*") if path.is_dir())
    return found


@pytest.fixture
def case(folder) -> Case:
    (listing,), (arrays,) = folder.glob("*.json"), folder.glob("*.npz")
    return Case(arrays, listing)


def settings(case: Case) -> MaeFuseSettings:
    options = dict(case.entry("options"))
    fusion, _, eps = options.pop("fusion"), options.pop("facebook"), options.pop("layer_norm_eps")
    result = settings_of(options, fusion_heads=fusion["num_heads"], attention_axis="sample")
    assert (result.grid, result.width, eps) == (grid_of(fusion["grid"]), fusion["embed_dim"], 1e-6)
    return result


def loaded(path: Path, sizes: MaeFuseSettings) -> tuple[str, dict[str, nn.Module], tuple[Account, ...], Weights]:
    """Load a file into all parts that it feeds, by the layout that explains it."""
    weights = read_weights(path)
    for name in ("whole", "head", "mae", "facebook"):
        parts = build(sizes, *FEEDS[name])
        if not any(key.startswith("decoder") for key in weights.arrays) and name == "facebook":
            parts.pop("decoder")
        try:
            accounts = transfer(weights, parts, layouts=LAYOUTS)
        except WeightsError:
            continue
        return accounts[0].layout, parts, accounts, weights
    raise AssertionError(f"no layout explains {path}")


def output(parts: dict[str, nn.Module], image: Tensor) -> Tensor:
    """Prediction of an encoder and decoder, or of a whole model on an image and its mirror image."""
    if "mfm" not in parts:
        return parts["decoder"](parts["encoder"](image))
    visible, infrared = parts["encoder"](image), parts["encoder"](image.flip(3))
    return parts["decoder"](parts["mfm"](parts["cfm"](visible, infrared), visible, infrared))


def test_every_file_is_recognised_loaded_and_gives_the_originals_output(folder, case, parity_root):
    sizes = settings(case)
    files = sorted(folder.glob("*.pth"))
    assert {path.name for path in files} == {name for name in case.entries if name.endswith(".pth")}
    found = {path: loaded(path, sizes) for path in files}
    for path, (layout, parts, _, weights) in found.items():
        check_names_and_rule(case, path.name, weights, fill_rule(parity_root))
        check_values(layout, parts, weights)
    check_outputs(case, found)
    check_facebook_account(case, found)
    case.entry("torch")
    case.entry("expected.npz")  # says in words what check_outputs does
    case.close()


def check_names_and_rule(case: Case, name: str, weights: Weights, rule) -> None:
    """The file holds the arrays that its entry lists, and those of the rule where it lists shapes."""
    case.entry(name, "note")
    listed = case.entry(name, "keys")
    plain = {re.sub(r"^(module\.)*", "", key): key for key in listed}
    assert set(plain) == set(weights.arrays)
    for key, array in weights.arrays.items():
        if isinstance(listed, dict):
            assert list(array.shape) == listed[plain[key]]
        rules = (torch.from_numpy(rule(prefix + key, tuple(array.shape))) for prefix in ("", "model1.", "model2."))
        assert any(torch.equal(array, filled) for filled in rules), key


def check_values(layout: str, parts: dict[str, nn.Module], weights: Weights) -> None:
    """Every array of a part is the file's, to the bit, or kept by a rule."""
    made = translate(LAYOUTS[layout], weights.arrays).made
    for part, module in parts.items():
        for name, array in module.state_dict().items():
            if f"{part}.{name}" in made:
                (source,) = made[f"{part}.{name}"].sources
                assert torch.equal(array, weights.arrays[source])
            else:
                assert layout == "facebook"
                assert name == "pos_embed"


def check_outputs(case: Case, found: dict[Path, tuple]) -> None:
    """Each file's output is that of the original after loading it; each stored output belongs to a file."""
    image = case.input("x")
    by_layout = {"out_all": "whole", "out_resume": "mae", "out_after_facebook_load": "facebook"}
    whole = next(parts for layout, parts, *_ in found.values() if layout == "whole")
    for name in sorted(case.open_arrays):
        layout = by_layout[name]
        outputs = [output(parts, image) for kind, parts, *_ in found.values() if kind == layout and "decoder" in parts]
        assert outputs
        for other in outputs[1:]:
            assert torch.equal(other, outputs[0])
        case.check(name, outputs[0])
    heads = [parts for layout, parts, *_ in found.values() if layout == "head"]
    for head in heads:  # the head alone, put on the whole model's encoder and decoder, gives the whole's output
        torch.testing.assert_close(output({**whole, **head}, image), output(whole, image), atol=0, rtol=0)


def check_facebook_account(case: Case, found: dict[Path, tuple]) -> None:
    """The account names the arrays that the original's loader copied, kept and ignored, and no others."""
    told = case.entry("load_of_facebook_file_by_util_misc_load_model")
    for layout, parts, accounts, weights in found.values():
        if layout == "facebook" and "decoder" in parts:
            made = translate(LAYOUTS[layout], weights.arrays).made
            own = {f"{part}.{name}" for part, module in parts.items() for name in module.state_dict()}
            surplus = names(account.dropped for account in accounts) - set(weights.arrays)
            assert {m.sources[0] for name, m in made.items() if name in own} == set(told["copied"])
            kept = {f"{account.part}.{name}" for account in accounts for name in names([account.kept])}
            assert kept == set(translate(LAYOUTS[layout], told["kept"], resize=True).made)
            assert {m.sources[0] for name, m in made.items() if name in surplus} | (
                names(account.dropped for account in accounts) & set(weights.arrays)
            ) == set(told["ignored"])


def names(groups: Iterable) -> set[str]:
    """All names in some accounts' groups, whatever the reason."""
    return {name for group in groups for listed in group.values() for name in listed}


def test_public_tables_are_resized_on_request_and_kept_otherwise(folder, case):
    sizes = settings(case)
    for path in sorted(folder.glob("*.pth")):
        weights = read_weights(path)
        if "cls_token" in weights.arrays:
            kept, resized = (fresh(sizes, weights, resize) for resize in (None, "position"))
            assert torch.equal(kept, build(sizes, "encoder")["encoder"].pos_embed)
            assert not torch.equal(resized, kept)
            assert resized.shape == kept.shape


def fresh(sizes: MaeFuseSettings, weights: Weights, resize: str | None) -> Tensor:
    """Position table of an encoder after loading."""
    encoder = build(sizes, "encoder")["encoder"]
    wish = Wish(part="encoder", module=encoder, file_part="encoder", resize=resize)
    transfer(weights, [wish], layout=LAYOUTS["facebook"])
    return encoder.pos_embed
