"""Features computed once: a store of named arrays for each sample, its keys, and the folder of all stores."""

from gradatim.features.schema import Field as Field
from gradatim.features.schema import Schema as Schema
from gradatim.features.store import FeatureStore as FeatureStore
from gradatim.features.store import StoreWriter as StoreWriter
