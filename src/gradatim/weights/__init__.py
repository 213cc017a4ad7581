"""Arrays on disk and arrays in parts: readers, layouts, strict transfer, digests, our own files."""

from gradatim.weights.digest import array_digest, arrays_digest, file_digest, part_digest, text_digest
from gradatim.weights.formats import Weights
from gradatim.weights.hub import hub_file
from gradatim.weights.layout import Drop, Join, Keep, Layout, Rename, Split, Surplus, Tie, translate
from gradatim.weights.read import read_weights
from gradatim.weights.transfer import Account, Wish, accounts, recognised, transfer
from gradatim.weights.write import header_of, parts_of, write_weights

__all__ = [
    "Account",
    "Drop",
    "Join",
    "Keep",
    "Layout",
    "Rename",
    "Split",
    "Surplus",
    "Tie",
    "Weights",
    "Wish",
    "accounts",
    "array_digest",
    "arrays_digest",
    "file_digest",
    "header_of",
    "hub_file",
    "part_digest",
    "parts_of",
    "read_weights",
    "recognised",
    "text_digest",
    "transfer",
    "translate",
    "write_weights",
]
