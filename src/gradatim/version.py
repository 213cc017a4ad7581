"""The version of gradatim."""

__version__ = "0.1.0"
