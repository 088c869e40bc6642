"""Which kernels a call would have to compile that others before it have not: nothing is compiled.

Run as a program, as offline.py is: prints a line of JSON for each group of calls, an object with
the kernels that each call adds, in order.
"""

import json
import sys

from offline import EVERY, ROOT, Recorder, call, hopper_lacking, record, target_of

FIRST = {1: (0, 0.1), 8: (0.1, 0.3), 0: (0.3, 1)}
# what a range of steps may set
SETTINGS = {
    "first": {},
    "shares": {"mask_ratios": {1: (0, 0.4), 8: (0.4, 0.8), 0: (0.8, 1)}},
    "few": {"mask_ratios": {1: (0, 0.02), 8: (0.02, 0.04), 0: (0.04, 1)}},
    "levels": {"mask_ratios": {1: (0, 0.1), 2: (0.1, 0.3), 0: (0.3, 1)}},
    "tail": {"tail": 64},
    "second_moment": {"second_moment": True},
    "mask_mode": {"mask_mode": "thresholdbound"},
    "grouping": {"grouping": "similar"},
    "refresh": {"refresh": 9},
}
# multiples of 16 and others, which Triton tells apart unless it is told not to. It also tells where
# a tensor's memory begins: those of a number for each head do so at 16 bytes with 4, 8, ... heads
SIZES = {
    "first": {},
    "longer": {"grid": (5, 16, 16)},
    "odd": {"grid": (5, 17, 15)},
    "text": {"extra": (0, 77)},
    "text in front": {"extra": (226, 0)},
    "no text": {"extra": (0, 0)},
    "more heads": {"heads": 16},
    "more blocks": {"grid": (13, 30, 45)},
}
EVERYTHING = {
    "block_n": 128, "tail": 16, "second_moment": True, "mask_ratios": EVERY, "grouping": "similar",
    "rearrange_method": "SemanticAware",
}  # fmt: skip


class Names(Recorder):
    def __init__(self, target):
        super().__init__(target)
        self.names = []

    def new(self, kernel, source, options):
        self.names.append(kernel.__name__)


def show(group: str, calls: dict[str, tuple], features: str = "") -> None:
    """`calls`: name -> (config, size), each against all before it in the group. `features`: of
    `HOPPER`, for its kernel."""
    recorder = Names(target_of("cuda:90"))
    recorder.features = features
    record(recorder)
    if features and hopper_lacking():
        return
    found = {}
    for name, (config, size) in calls.items():
        recorder.names.clear()
        call(config, "bfloat16", 128, **{"heads": 4, **size})
        found[name] = list(recorder.names)
    print(json.dumps({group: found}), flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests import pack_import

    pack_import.install()
    from psa_kernels import PSAConfig

    common = {"block_n": 128, "tail": 128, "rearrange_method": "Gilbert", "mask_ratios": FIRST}
    settings = {name: (PSAConfig(**{**common, **own}), {}) for name, own in SETTINGS.items()}
    sizes = {name: (PSAConfig(**EVERYTHING), own) for name, own in SIZES.items()}
    show("settings", settings)
    show("sizes", sizes)
    show("sizes on Hopper", sizes, "every level")
