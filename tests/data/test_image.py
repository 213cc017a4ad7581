"""Reading, judging and writing image files."""

import numpy as np
import pytest
from PIL import Image

from gradatim.data.image import (
    image_size,
    is_gray,
    read_gray,
    read_image,
    resize,
    verify_image,
    write_file,
    write_image,
)
from gradatim.errors import DataError

COLOR = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
GRAY = COLOR[:, :, 0]


def test_lossless_formats_give_every_pixel_back_whatever_the_suffix_says(tmp_path):
    formats = {"a.png": "PNG", "b.BMP": "BMP", "c.tif": "TIFF", "d.jpg": "PNG", "e": "TIFF", "f.webp": "WEBP"}
    for name, file_format in formats.items():
        Image.fromarray(COLOR).save(tmp_path / name, format=file_format, lossless=True)
        np.testing.assert_array_equal(read_image(tmp_path / name), COLOR, err_msg=name)


def test_gray_palette_and_transparent_pictures_become_rgb(tmp_path):
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    Image.fromarray(np.dstack([COLOR, GRAY])).save(tmp_path / "alpha.png")
    palette = Image.fromarray(GRAY // 16 * 16).quantize(16)
    palette.save(tmp_path / "palette.png", transparency=bytes(range(16)))
    palette.save(tmp_path / "palette.gif", transparency=3)

    np.testing.assert_array_equal(read_image(tmp_path / "gray.png"), np.dstack([GRAY] * 3))
    np.testing.assert_array_equal(read_gray(tmp_path / "gray.png"), GRAY)
    np.testing.assert_array_equal(read_image(tmp_path / "alpha.png"), COLOR)
    for name in ("palette.png", "palette.gif"):
        np.testing.assert_array_equal(read_gray(tmp_path / name), GRAY // 16 * 16, err_msg=name)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_divided_by_257_or_stretched(tmp_path, suffix):
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(path)
    np.testing.assert_array_equal(read_gray(path), GRAY)

    Image.fromarray(GRAY.astype(np.uint16) + 3000).save(path)
    low, high = GRAY.min(), GRAY.max()
    np.testing.assert_array_equal(read_gray(path, deep="stretch"), np.rint((GRAY - low) * (255 / (high - low))))


def test_8_bit_values_in_a_16_bit_file_stay_as_they_are(tmp_path):
    Image.fromarray(GRAY.astype(np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_gray(tmp_path / "a.png"), GRAY)


def test_floating_point_counts_as_0_to_1_or_0_to_255_and_nothing_else(tmp_path):
    Image.fromarray(GRAY.astype(np.float32) / 255).save(tmp_path / "unit.tif")
    Image.fromarray(GRAY.astype(np.float32)).save(tmp_path / "levels.tif")
    Image.fromarray(GRAY.astype(np.float32) - 300).save(tmp_path / "celsius.tif")
    np.testing.assert_array_equal(read_gray(tmp_path / "unit.tif"), GRAY)
    np.testing.assert_array_equal(read_gray(tmp_path / "levels.tif"), GRAY)
    with pytest.raises(DataError, match=r"outside 0 to 255; read it with deep: stretch"):
        read_image(tmp_path / "celsius.tif")
    assert np.ptp(read_gray(tmp_path / "celsius.tif", deep="stretch")) == 255


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "tif", "gif", "webp"])
def test_a_truncated_file_is_found_by_reading_and_by_verifying(tmp_path, suffix):
    path = tmp_path / f"whole.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    assert verify_image(path) == image_size(path) == (64, 64)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    for look in (read_image, verify_image):
        with pytest.raises(DataError, match=rf"whole\.{suffix}: the image is damaged or truncated"):
            look(path)


def test_empty_foreign_and_missing_files_are_told_apart(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture at all")
    for look in (read_image, verify_image, image_size):
        with pytest.raises(DataError, match=r"empty\.png: the file is empty \(0 bytes\)"):
            look(tmp_path / "empty.png")
        with pytest.raises(DataError, match=r"text\.png: not an image that can be read"):
            look(tmp_path / "text.png")
        with pytest.raises(DataError, match=r"gone\.png: [Nn]o such file"):
            look(tmp_path / "gone.png")


def test_a_turned_photograph_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLOR).save(tmp_path / "turned.png", exif=exif)
    assert image_size(tmp_path / "turned.png") == (14, 10)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(COLOR, -1))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", COLOR)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOR)

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "a.png", b"half")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), COLOR)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_suffix_without_a_writer_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot write '\.xyz' images; \.png keeps every pixel"):
        write_image(tmp_path / "a.xyz", COLOR)


def test_resizing_averages_when_it_shrinks():
    stripes = np.tile(np.array([0, 255], np.uint8), (16, 16))
    assert abs(int(resize(stripes, (4, 4))[2, 2]) - 128) < 8
    assert resize(stripes.astype(np.float32), (4, 6)).shape == (4, 6)


def test_lanczos_is_another_filter_and_leaves_equal_sizes_alone():
    sharp = resize(COLOR, (5, 7), kind="lanczos")
    assert sharp.shape == (5, 7, 3)
    assert not np.array_equal(sharp, resize(COLOR, (5, 7)))
    assert resize(COLOR, (10, 14), kind="lanczos") is COLOR


def test_gray_files_are_told_by_their_header(tmp_path):
    for name, array in {"l.png": GRAY, "i.png": GRAY.astype(np.uint16), "f.tif": GRAY.astype(np.float32)}.items():
        Image.fromarray(array).save(tmp_path / name)
        assert is_gray(tmp_path / name), name
    Image.fromarray(COLOR).save(tmp_path / "rgb.png")
    assert not is_gray(tmp_path / "rgb.png")
    with pytest.raises(DataError, match="no such file"):
        is_gray(tmp_path / "none.png")
