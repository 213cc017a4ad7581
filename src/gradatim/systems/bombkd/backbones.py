"""Video backbones: networks of the `transformers` library behind one interface, pixels to tokens.

A backbone is built from a configuration and never downloads anything; weights come from files, by layouts. Which of
the library's outputs are the features is fixed here, since "the last hidden state" has meant different things in its
versions: tokens after the network's last norm, except TimeSformer's, which are taken before it.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradatim.errors import DataError, MissingExtraError, PlanError, unknown
from gradatim.systems.bombkd.names import FAMILIES, IDENTITY, Order, find_backbone
from gradatim.systems.bombkd.preprocess import Preprocessing, Profile, default_preprocessing


class TokenLayout(NamedTuple):
    """What the tokens of a sequence stand for.

    Args:
        order: "thw", time first, or "hwt", place first.
        times, height, width: tokens along each axis.
    """

    order: Order
    times: int
    height: int
    width: int


class Backbone(nn.Module):
    """A network that turns a clip into tokens.

    Args:
        family: one of `FAMILIES`.
        config: fields of the library's configuration; what is not given is the library's default.
        preprocessing: range of the pixels; None: the architecture's.
        profile: of the default preprocessing.

    Raises:
        MissingExtraError: transformers is not installed.
        PlanError: a field that the configuration does not have, or an installation that cannot build the network.
    """

    factor: Tensor
    shift: Tensor

    def __init__(
        self,
        family: str,
        config: Mapping[str, Any],
        *,
        preprocessing: Preprocessing | None = None,
        profile: Profile = "original",
    ) -> None:
        super().__init__()
        self.family = FAMILIES[family]
        self.net, own = _network(family, config)
        self.dim = int(own.hidden_size)
        self.size = int(getattr(own, self.family.size))
        self.frames = int(own.num_frames) if self.family.fixed_frames else None
        tubelet: Any = getattr(own, "tubelet_size", 1)
        self.patch = int(own.patch_size if hasattr(own, "patch_size") else tubelet[-1])
        self.tubelet = int(tubelet if isinstance(tubelet, int) else tubelet[0])
        self.preprocessing = preprocessing or default_preprocessing(family, self.size, profile)
        for name, values in zip(("factor", "shift"), self.preprocessing.affine(), strict=True):
            self.register_buffer(name, values, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Tokens of clips that were resized and cut.

        Args:
            pixels: (B, T, 3, H, W), uint8 in 0..255 or floating point in [0, 1]. Where the network takes a fixed
                number of frames and T is another, that many are chosen evenly.

        Returns:
            (B, N, D), without a class token; see `layout` for their order.
        """
        tokens = self.hidden(self.normalized(self.chosen(pixels)))
        return tokens[:, 1:] if self.family.class_token else tokens

    def chosen(self, pixels: Tensor) -> Tensor:
        """The frames that the network takes; (B, T, ...)."""
        if self.frames is None or pixels.shape[1] == self.frames:
            return pixels
        return pixels[:, frame_indices(pixels.shape[1], self.frames).to(pixels.device)]

    def normalized(self, pixels: Tensor) -> Tensor:
        """Pixels in the network's range, in its precision; (B, T, 3, H, W)."""
        levels = pixels.float() if pixels.dtype == torch.uint8 else pixels.float() * 255
        return (levels * self.factor - self.shift).to(self._dtype())

    def _dtype(self) -> torch.dtype:
        return next(self.net.parameters()).dtype

    def hidden(self, pixels: Tensor) -> Tensor:
        """The network's whole sequence, a class token first where it has one, for pixels in its range."""
        tokens: Tensor = self.net(**{self.family.argument: pixels}).last_hidden_state
        return tokens

    def layout(self, frames: int | None = None, size: tuple[int, int] | None = None) -> TokenLayout:
        """What the tokens of a clip stand for.

        Args:
            frames: of the clip; None or another number than a fixed one: the network's.
            size: (height, width) of the pixels; None: the network's.
        """
        count = self.frames or frames or self.tubelet
        height, width = size or (self.size, self.size)
        times = max(1, count // self.tubelet)
        return TokenLayout(self.family.order, times, height // self.patch, width // self.patch)


def _network(family: str, fields: Mapping[str, Any]) -> tuple[nn.Module, Any]:
    """The library's network with fresh weights, without what features do not need, and its configuration."""
    own = FAMILIES[family]
    config_class, model_class = _library(own.config), _library(own.model)
    known = config_class().to_dict()
    fields = {own.older.get(name, name) if name not in known else name: value for name, value in fields.items()}
    wrong = [unknown(f"field of {own.config}", name, known) for name in fields if name not in known]
    if wrong:
        raise PlanError("\n".join(wrong))
    config = config_class(**fields)
    if family == "vjepa2":
        config.pred_num_hidden_layers = 1  # The predictor is built along and then left out.
        return model_class(config).encoder, config
    if family == "vivit":
        return model_class(config, add_pooling_layer=False), config
    if family == "videomae":
        _hasten_sines()
    network: nn.Module = model_class(config)
    if family == "timesformer":
        network.layernorm = nn.Identity()
    return network, config


def _hasten_sines() -> None:
    """Give the library our `sines`: its own raises ten thousand to a million powers one by one, for seconds."""
    module: Any = import_module("transformers.models.videomae.modeling_videomae")
    if hasattr(module, "get_sinusoid_encoding_table"):
        module.get_sinusoid_encoding_table = sines


def sines(positions: int, width: int) -> Tensor:
    """The library's table of positions (1, positions, width), to the bit."""
    # Single powers, since those of arrays may be rounded otherwise.
    powers = np.array([np.power(10000, 2 * (column // 2) / width) for column in range(width)])
    table = np.arange(positions)[:, None] / powers
    table[:, 0::2] = np.sin(table[:, 0::2])
    table[:, 1::2] = np.cos(table[:, 1::2])
    return torch.from_numpy(table.astype(np.float32))[None]


def _library(name: str) -> Any:
    """A class of transformers.

    Raises:
        MissingExtraError: it is not installed.
        PlanError: it is, and cannot be imported.
    """
    try:
        return getattr(import_module("transformers"), name)
    except ModuleNotFoundError as error:
        if error.name == "transformers":
            raise MissingExtraError("transformers", "backbones", "a video backbone") from error
        raise PlanError(_broken(name, error)) from error
    except (ImportError, RuntimeError, AttributeError) as error:
        raise PlanError(_broken(name, error)) from error


def _broken(name: str, error: Exception) -> str:
    first = str(error).strip().split("\n")[0]
    advice = "update it: pip install -U 'gradatim[backbones]'"
    if "torchvision" in str(error):
        advice = (
            "the installed torchvision does not fit the installed torch. gradatim needs none (timm may have brought "
            "it along): pip uninstall torchvision, or install the one that belongs to your torch"
        )
    return f"transformers cannot give {name}: {first}; {advice}"


class IdentityBackbone(nn.Module):
    """Stand-in for tests: one token a clip, a linear layer on its mean color.

    Args:
        dim: width of the token.
        size: side of the pixels that it asks for; it takes any.
    """

    def __init__(self, dim: int = 768, *, size: int = 224) -> None:
        super().__init__()
        self.dim = dim
        self.size = size
        self.frames = None
        self.preprocessing = Preprocessing(resize=size, crop=(size, size), mean=(0, 0, 0), std=(1, 1, 1))
        self.proj = nn.Linear(3, dim)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, T, 3, H, W), uint8 in 0..255 or floating point in [0, 1] -> (B, 1, D)."""
        levels = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
        token: Tensor = self.proj(levels.mean(dim=(1, 3, 4)).to(self.proj.weight.dtype)).unsqueeze(1)
        return token

    def layout(self, frames: int | None = None, size: tuple[int, int] | None = None) -> TokenLayout:
        """One token for everything."""
        return TokenLayout("thw", 1, 1, 1)


def build_backbone(
    name: str,
    config: Mapping[str, Any] | None = None,
    *,
    preprocessing: Preprocessing | None = None,
    profile: Profile = "original",
) -> Backbone | IdentityBackbone:
    """A backbone with fresh weights.

    Args:
        name: see `find_backbone`, or `identity`.
        config: fields that differ from the published ones.
        preprocessing: range of the pixels; None: the architecture's.
        profile: of the default preprocessing.

    Raises:
        PlanError: no such backbone, or no such field.
        MissingExtraError: transformers is not installed.
    """
    fields = dict(config or {})
    if name.lower() == IDENTITY:
        wrong = [unknown("field of the identity backbone", field, ("hidden_size", "image_size")) for field in fields]
        if set(fields) - {"hidden_size", "image_size"}:
            raise PlanError("\n".join(wrong))
        return IdentityBackbone(fields.get("hidden_size", 768), size=fields.get("image_size", 224))
    published = find_backbone(name)
    return Backbone(published.family, {**published.config, **fields}, preprocessing=preprocessing, profile=profile)


def frame_indices(total: int, count: int) -> Tensor:
    """`count` of `total` frames, evenly spread with the first and the last, rounded down; some repeat if total is less.

    Raises:
        DataError: there are no frames.
    """
    if total < 1 or count < 1:
        raise DataError(f"cannot choose {count} of {total} frames.")
    return torch.from_numpy(np.floor(np.linspace(0, total - 1, count)).astype(np.int64))


def reorder(tokens: Tensor, layout: TokenLayout, order: Order) -> Tensor:
    """Put tokens into another order.

    Args:
        tokens: (B, N, D).
        layout: what they stand for.
        order: "thw" or "hwt".

    Raises:
        DataError: the layout has another number of tokens.
    """
    _, times, height, width = layout
    if tokens.shape[1] != times * height * width:
        raise DataError(f"{tokens.shape[1]} tokens are not {times} x {height} x {width} (time x height x width).")
    if layout.order == order:
        return tokens
    places = height * width
    shape = (times, places) if layout.order == "thw" else (places, times)
    return tokens.reshape(len(tokens), *shape, -1).transpose(1, 2).flatten(1, 2)
