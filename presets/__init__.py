"""Presets of model families: the shipped YAML files beside this module, and the store over them.

from .presets import SHIPPED_DIR, PresetStore

store = PresetStore(SHIPPED_DIR, user_dir)
config = store.get("Wan2.1_14b", "fast")
"""

from .errors import (
    CollisionError,
    ConflictError,
    InvalidPresetError,
    NotFoundError,
    PresetError,
    PresetNameError,
    Problem,
    ReadOnlyError,
    StorageError,
    TextError,
)
from .family import Family, VideoScale
from .files import SHIPPED_DIR
from .importing import Imported
from .listing import ABSENT, FamilyInfo, Listing, PresetInfo
from .named_file import over_shipped
from .names import DEFAULT
from .store import PresetStore

__all__ = [
    "ABSENT",
    "DEFAULT",
    "SHIPPED_DIR",
    "CollisionError",
    "ConflictError",
    "Family",
    "FamilyInfo",
    "Imported",
    "InvalidPresetError",
    "Listing",
    "NotFoundError",
    "PresetError",
    "PresetInfo",
    "PresetNameError",
    "PresetStore",
    "Problem",
    "ReadOnlyError",
    "StorageError",
    "TextError",
    "VideoScale",
    "over_shipped",
]
