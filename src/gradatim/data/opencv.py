"""OpenCV, which is optional: loaded where it is used, and missed by name."""

from importlib import import_module
from typing import Any

from gradatim.errors import MissingExtraError


def opencv(purpose: str) -> Any:
    """The module cv2.

    Args:
        purpose: what needs it, for the message.

    Raises:
        MissingExtraError: it is not installed.
    """
    try:
        return import_module("cv2")
    except ImportError as error:
        raise MissingExtraError("cv2", "opencv", purpose) from error
