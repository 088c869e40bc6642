"""One description of a configuration and its validation. Imports the standard library alone.

"Section N" here and in the whole package means a section of docs/semantics.md.
"""

from .applicability import not_applicable
from .block_list import block_list_text, parse_block_list
from .block_overrides import DENSE, BlockOverrides
from .fields import FIELD_BY_ARGUMENT, FIELD_BY_PATH, FIELDS, GROUPS, Field, field_of
from .issues import ConfigError, Issue, Mend
from .mask_ratios import LEVELS, MaskRatios
from .odd_number import OddNumber, advice
from .psa_config import PSAConfig
from .readings import readings
from .step_ranges import Range, StepRanges, parse_range, range_text
from .validate import check_preset

__all__ = [
    "DENSE",
    "FIELDS",
    "FIELD_BY_ARGUMENT",
    "FIELD_BY_PATH",
    "GROUPS",
    "LEVELS",
    "BlockOverrides",
    "ConfigError",
    "Field",
    "Issue",
    "MaskRatios",
    "Mend",
    "OddNumber",
    "PSAConfig",
    "Range",
    "StepRanges",
    "advice",
    "block_list_text",
    "check_preset",
    "field_of",
    "not_applicable",
    "parse_block_list",
    "parse_range",
    "range_text",
    "readings",
]
