"""First layers of VGG16, in whose features colors are compared."""

from collections.abc import Sequence

from torch import Tensor, nn

from gradatim.errors import DataError, unknown

_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512)
"""Of each convolution, which a ReLU follows; 0 is a pooling."""
LAYERS = {"relu1_2": 3, "relu2_2": 8, "relu3_3": 15, "relu4_3": 22}
"""Place of each layer that can be looked at."""


class Vgg16(nn.Module):
    """Features of pictures; no deeper than it is asked for.

    Args:
        layers: whose features come out, by name.

    Raises:
        DataError: there is no such layer.

    Source:
        VGG16 (Simonyan and Zisserman 2015, arXiv 1409.1556), configuration D.
    """

    def __init__(self, layers: Sequence[str] = ("relu3_3",)) -> None:
        super().__init__()
        for name in layers:
            if name not in LAYERS:
                raise DataError(unknown("layer", name, LAYERS))
        self.places = tuple(LAYERS[name] for name in layers)
        # Numbers of layers are the names in ImageNet's weights.
        self.features = nn.Sequential(*_layers()[: max(self.places) + 1])

    def forward(self, picture: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> features of each layer, in the order that they were asked for.

        Whether the picture is normalized by ImageNet's mean is up to the caller.
        """
        seen, x = {}, picture
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.places:
                seen[place] = x
        return tuple(seen[place] for place in self.places)


def _layers() -> list[nn.Module]:
    layers: list[nn.Module] = []
    inside = 3
    for width in _WIDTHS:
        if width == 0:
            layers.append(nn.MaxPool2d(2))
            continue
        layers += [nn.Conv2d(inside, width, 3, padding=1), nn.ReLU()]
        inside = width
    return layers
