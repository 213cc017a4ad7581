import pytest
import torch

from gradatim.systems.maefuse.model import PARTS, SIZES, MaeFuseSettings


def values(name, settings):
    with torch.device("meta"):
        part = PARTS[name](settings)
    return sum(array.numel() for array in part.state_dict().values())


def test_the_default_is_the_published_model():
    settings = MaeFuseSettings()

    assert settings == MaeFuseSettings(size="large") == MaeFuseSettings(**(settings.model_dump()))
    assert settings.grid == (40, 40)
    assert values("encoder", settings) + values("decoder", settings) == 319_085_824
    assert values("cfm", settings) + values("mfm", settings) == 18_430_976 + 1600 * 1024  # each part has the table
    assert settings.attention_axis == "tokens"


@pytest.mark.parametrize("size", SIZES)
def test_every_named_size_builds_every_part(size):
    settings = MaeFuseSettings(size=size)

    assert all(values(name, settings) for name in PARTS)
    assert len(SIZES) == 5


def test_a_field_that_is_given_overrides_the_named_size():
    settings = MaeFuseSettings(size="base", image_size=[64, 96], decoder_depth=2)

    assert (settings.width, settings.depth, settings.heads) == (768, 12, 12)
    assert settings.image_size == (64, 96)
    assert settings.grid == (4, 6)
    assert settings.decoder_depth == 2


def test_one_number_is_a_square():
    assert MaeFuseSettings(image_size=320).image_size == (320, 320)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(ValueError, match="4 validation errors") as error:
        MaeFuseSettings(size="huge", image_size=640, heads=3, decoder_width=18, colour=True)
    text = str(error.value)
    assert "[640, 640] is no multiple of the patch size, 14; the nearest is [644, 644]." in text
    assert "`width` is 1280, no multiple of 3 heads." in text
    assert "18 is no multiple of 4, which the sine-cosine positions need." in text
    assert "colour" in text


def test_what_is_given_is_checked_against_the_defaults_too():
    with pytest.raises(ValueError, match="`decoder_width` is 36, no multiple of 16 heads"):
        MaeFuseSettings(decoder_width=36)


def test_an_unknown_size_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match="'large', 'large4', 'large8', 'base' or 'huge'"):
        MaeFuseSettings(size="giant")


def test_settings_cannot_be_changed():
    settings = MaeFuseSettings()

    with pytest.raises(ValueError, match="frozen"):
        settings.width = 8
