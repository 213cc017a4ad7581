"""Metrics over folders, and the baselines beside them."""

import json

import numpy as np
import pytest

from gradatim.data.image import read_image
from gradatim.errors import DataError
from gradatim.systems.maefuse.evaluate import METHODS, evaluate_folder
from gradatim.systems.maefuse.metrics import NAMES, gray, measure
from pictures import pair_root, picture, save

SIZE = (44, 48)


@pytest.fixture
def root(tmp_path):
    return pair_root(tmp_path / "pairs", ("a", "b"), size=SIZE)


@pytest.fixture
def fused(tmp_path):
    for seed, name in enumerate(("a", "B")):
        save(tmp_path / "fused" / f"{name}.png", picture(50 + seed, SIZE))
    return tmp_path / "fused"


def test_each_pair_has_a_row_for_the_result_and_for_each_baseline(root, fused):
    seen = []
    result = evaluate_folder(fused, root, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 2), (1, 2), (2, 2)]
    assert [(row.name, row.method) for row in result.rows] == [(name, m) for name in "ab" for m in METHODS]

    visible, infrared = (gray(read_image(root / kind / "a.png")) for kind in ("vi", "ir"))
    by_method = {row.method: row.values for row in result.rows if row.name == "a"}
    assert by_method["fused"] == measure(picture(50, SIZE), visible, infrared)
    assert by_method["average"] == measure(np.rint((visible + infrared) / 2), visible, infrared)
    assert by_method["maximum"] == measure(np.maximum(visible, infrared), visible, infrared)
    assert by_method["average"]["MSE"] < by_method["maximum"]["MSE"]

    en = [row.values["EN"] for row in result.rows if row.method == "fused"]
    assert result.means["fused"]["EN"] == pytest.approx(sum(en) / 2)


def test_the_result_is_json_even_where_a_value_is_infinite(tmp_path):
    root = pair_root(tmp_path, ("a",), size=SIZE)
    save(root / "ir" / "a.png", picture(0, SIZE))
    content = json.loads(evaluate_folder(root / "vi", root).to_json())
    assert content["means"]["fused"]["PSNR"] is None
    assert [row["method"] for row in content["rows"]] == list(METHODS)
    assert set(content["rows"][0]["values"]) == set(NAMES)


def test_everything_wrong_is_said_at_once(root, fused):
    save(fused / "c.png", picture(0, SIZE))
    (fused / "B.png").unlink()
    save(fused / "a.png", picture(0, (44, 40)))
    with pytest.raises(DataError) as error:
        evaluate_folder(fused, root)
    for words in (
        "3 problem(s)",
        "c.png: there is no pair",
        "no fused picture for 'b'",
        "is 44 x 40, its pair is 44 x 48",
    ):
        assert words in str(error.value)


def test_a_subset_may_be_evaluated_if_said(root, fused):
    (fused / "B.png").unlink()
    assert len(evaluate_folder(fused, root, subset=True).rows) == len(METHODS)


def test_two_roots_must_not_share_names(tmp_path, fused):
    roots = [pair_root(tmp_path / name, ("a", "b"), size=SIZE) for name in ("x", "y")]
    with pytest.raises(DataError, match="pairs 'x/a' and 'y/a' have the same name: evaluate one root at a time"):
        evaluate_folder(fused, roots)
