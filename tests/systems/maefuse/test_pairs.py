"""Finding pairs, and everything that can be wrong with the files."""

from pathlib import Path

import numpy as np
import pytest

from gradatim.errors import DataError
from gradatim.systems.maefuse.data import PairSettings, open_pairs
from gradatim.systems.maefuse.pairs import find_pairs, root_labels
from pictures import pair_root, picture, save


def problems_of(root, **settings):
    with pytest.raises(DataError) as error:
        open_pairs(PairSettings(root=root, **settings), "all")
    return str(error.value)


def test_pairs_are_found_by_name_whatever_the_format_and_case(tmp_path):
    save(tmp_path / "Visible" / "b.JPG", picture(0))
    save(tmp_path / "Visible" / "a.bmp", picture(1))
    save(tmp_path / "INFRARED" / "A.tif", picture(2, channels=1))
    save(tmp_path / "INFRARED" / "b.PNG", picture(3, channels=1))
    (tmp_path / "INFRARED" / "notes.txt").write_text("of the camera")
    pairs, wrong = find_pairs([tmp_path])
    assert not wrong
    assert [(pair.name, pair.visible.name, pair.infrared.name) for pair in pairs] == [
        ("a", "a.bmp", "A.tif"),
        ("b", "b.JPG", "b.PNG"),
    ]


def test_everything_wrong_is_said_at_once(tmp_path):
    pair_root(tmp_path, ("good", "small", "empty", "cut", "text"))
    save(tmp_path / "vi" / "alone.png", picture())
    save(tmp_path / "ir" / "lonely.png", picture())
    save(tmp_path / "vi" / "good.bmp", picture())
    save(tmp_path / "ir" / "small.png", picture(size=(11, 16)))
    (tmp_path / "ir" / "empty.png").write_bytes(b"")
    (tmp_path / "vi" / "text.png").write_text("no picture")
    cut = tmp_path / "vi" / "cut.png"
    cut.write_bytes(cut.read_bytes()[:-100])

    lines = problems_of(tmp_path).splitlines()

    assert lines[0] == f"{tmp_path}: 7 problem(s) with the pictures:"
    expected = (
        "vi: 'good.bmp' and 'good.png' have the same name; keep one of them.",
        "vi: no partner for 'lonely.png'.",
        "ir: no partner for 'alone.png'.",
        "empty.png: the file is empty (0 bytes).",
        "text.png: not an image that can be read.",
        "cut.png: the image is damaged or truncated",
        "pair 'small': visible is 12 x 16, infrared is 11 x 16 (height x width)",
    )
    for words in expected:
        assert sum(words in line for line in lines) == 1, (words, lines)
    assert len(lines) == 1 + len(expected)


def test_headers_alone_find_all_but_truncated_files(tmp_path):
    pair_root(tmp_path)
    cut = tmp_path / "vi" / "a.png"
    cut.write_bytes(cut.read_bytes()[:-100])
    assert len(open_pairs(PairSettings(root=tmp_path, check="headers"), "all")) == 3
    assert "1 problem(s)" in problems_of(tmp_path)
    cut.write_bytes(b"")
    assert "the file is empty" in problems_of(tmp_path, check="headers")


def test_missing_and_empty_folders_are_named(tmp_path):
    assert f"{tmp_path / 'gone'}: no such folder." in problems_of(tmp_path / "gone")
    (tmp_path / "vi").mkdir()
    assert "no folder named ir/ or infrared/; its folders: vi." in problems_of(tmp_path)
    save(tmp_path / "ir" / "a.png", picture())
    message = problems_of(tmp_path)
    assert f"{tmp_path / 'vi'}: holds no image." in message
    (tmp_path / "vi" / "a.xml").write_text("label")
    assert "holds no image, only 1 other files." in problems_of(tmp_path)
    (tmp_path / "visible").mkdir()
    assert "more than one folder named vi/ or visible/" in problems_of(tmp_path)


def test_the_same_name_in_several_roots_stays_unique(tmp_path):
    roots = [pair_root(tmp_path / "x" / "set"), pair_root(tmp_path / "y" / "set", ("a",))]
    pairs, wrong = find_pairs(roots)
    assert not wrong
    assert [pair.name for pair in pairs] == ["x/set/a", "x/set/b", "x/set/c", "y/set/a"]
    assert root_labels([Path("tno"), Path("roadscene")]) == ["tno/", "roadscene/"]
    with pytest.raises(DataError, match="a root is named twice"):
        root_labels([Path("tno"), Path("tno")])


def test_16_bit_infrared_and_gray_visible_pictures_are_pairs(tmp_path):
    save(tmp_path / "vi" / "a.png", picture(0, channels=1))
    save(tmp_path / "ir" / "a.tif", picture(1, channels=1).astype(np.uint16) * 257)
    sample = open_pairs(PairSettings(root=tmp_path), "all").sample(0, ("visible", "infrared"), None)
    for field, seed in (("visible", 0), ("infrared", 1)):
        np.testing.assert_array_equal(sample[field].numpy() * 255, np.stack([picture(seed, channels=1)] * 3))


def test_all_real_pairs_are_found(data_root):
    roots = sorted(path for path in (data_root / "fusion").iterdir() if path.is_dir())
    pairs, wrong = find_pairs(roots)
    assert not wrong
    files = sum(len(list((root / "visible").iterdir())) for root in roots)
    assert len(pairs) == files > 0
