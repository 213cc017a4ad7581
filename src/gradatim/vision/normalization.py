"""Pixel values in [0, 1] to the units that networks trained on ImageNet take, and back."""

from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def to_imagenet(image: Tensor) -> Tensor:
    """Subtract ImageNet's mean and divide by its deviation; RGB (..., 3, H, W) in [0, 1] -> same shape."""
    mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (image - mean) / std


def from_imagenet(image: Tensor) -> Tensor:
    """Undo `to_imagenet`; nothing is clipped, so a prediction may leave [0, 1]."""
    mean, std = (image.new_tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return image * std + mean
