"""Minutiae: from maps to lists, thinned out, to files and back."""

import numpy as np
import pytest
import torch

from gradatim.errors import DataError
from gradatim.systems.ifvit.minutiae import decoded, foreground, read_minutiae, thinned_out, write_minutiae
from gradatim.systems.ifvit.parts.fingernet import MinutiaeMaps


def rows(*minutiae):
    """(x, y, degrees, score) as a list of minutiae."""
    return np.array([(x, y, np.radians(angle), score) for x, y, angle, score in minutiae], np.float32)


def test_a_cell_tells_place_direction_and_score():
    maps = MinutiaeMaps(*(torch.zeros(2, count, 2, 3) for count in (180, 8, 8, 1)))
    for values, number in ((maps.angle, 44), (maps.x, 5), (maps.y, 3), (maps.score, 0)):
        values[1, number, 1, 2] = 0.75

    nothing, (one,) = decoded(maps)

    assert nothing.shape == (0, 4)
    np.testing.assert_allclose(one, [2 * 8 + 5, 8 + 3, 2 * np.pi - np.radians(1), 0.75], rtol=1e-6)


def test_a_score_at_the_threshold_is_not_enough():
    maps = MinutiaeMaps(*(torch.full((1, count, 1, 1), 0.5) for count in (180, 8, 8, 1)))
    assert len(decoded(maps, threshold=0.5)[0]) == 0
    assert len(decoded(maps, threshold=0.49)[0]) == 1


def test_the_best_of_those_that_lie_together_and_point_alike_stays():
    close = rows((0, 0, 11, 0.5), (16, 0, 341, 0.9))
    assert np.array_equal(thinned_out(close), close[1:])


@pytest.mark.parametrize("other", [(17, 0, 11, 0.9), (0, 0, 43, 0.9)])
def test_those_that_lie_apart_or_point_elsewhere_stay_best_first(other):
    both = rows((0, 0, 11, 0.5), other)
    assert np.array_equal(thinned_out(both), both[::-1])


def test_one_that_a_better_one_took_away_takes_none_away_itself():
    chain = rows((0, 0, 1, 0.9), (12, 0, 1, 0.8), (24, 0, 1, 0.7))
    assert np.array_equal(thinned_out(chain), chain[::2])


def test_no_minutiae_stay_none():
    assert thinned_out(rows().reshape(0, 4)).shape == (0, 4)


def test_small_areas_of_the_foreground_go_and_large_ones_keep_their_size():
    cells = torch.zeros(8, 14)
    cells[1:6, 1:6] = 0.6
    cells[1:8, 8:12] = 1.0
    cells[7, 0] = 0.5

    mask = foreground(cells)

    assert mask.shape == (64, 112)
    assert mask[8:48, 8:48].all()
    assert mask.sum() == 40 * 40


def test_a_file_says_again_what_was_written_but_for_scores(tmp_path):
    path, minutiae = tmp_path / "1_1.mnt", rows((3, 40, 90, 0.9), (17, 2, 0, 0.8))

    write_minutiae(path, minutiae, name="1_1", size=(48, 64))

    assert path.read_text() == "1_1\n2 48 64\n3 40 1.570796\n17 2 0.000000\n"
    found = read_minutiae(path)
    assert (found.name, found.size) == ("1_1", (48, 64))
    np.testing.assert_allclose(found.minutiae, minutiae[:, :3], atol=1e-6)


def test_a_print_without_minutiae_is_a_file_too(tmp_path):
    write_minutiae(tmp_path / "f.mnt", rows().reshape(0, 4), name="empty", size=(8, 8))
    assert read_minutiae(tmp_path / "f.mnt").minutiae.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1_1\n", "1 lines; a file of minutiae has a name and a line `count height width`"),
        ("1_1\n2 48\n", "line 2: '2 48', and 3 numbers are needed"),
        ("1_1\n1.5 48 64\n", "line 2: '1.5 48 64', and whole numbers are needed"),
        ("1_1\n2 48 64\n3 40 1.5\n", "1 minutiae, and line 2 says 2"),
        ("1_1\n1 48 64\n3 40 east\n", "line 3: '3 40 east', and 3 numbers are needed"),
        ("1_1\n1 48 64\n3 40 nan\n", "line 3: '3 40 nan', and 3 numbers are needed"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(tmp_path, text, message):
    path = tmp_path / "f.mnt"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read_minutiae(path)
    assert message in str(error.value)


def test_a_missing_file_and_a_name_of_two_lines_are_refused(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_minutiae(tmp_path / "f.mnt")
    with pytest.raises(DataError, match="must be one line"):
        write_minutiae(tmp_path / "f.mnt", rows().reshape(0, 4), name="a\nb", size=(8, 8))
    assert not (tmp_path / "f.mnt").exists()
