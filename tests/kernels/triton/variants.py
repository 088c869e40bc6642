"""Which kernels a call would have to compile that others before it have not: nothing is compiled.

Run as a program, as offline.py is: prints one line of JSON for each name of `CALLS`, in order, the
kernels that it adds.
"""

import json
import sys

from offline import ROOT, Recorder, call, record, target_of

FIRST = {1: (0, 0.1), 8: (0.1, 0.3), 0: (0.3, 1)}
# what a range of steps may set, each against the first
CALLS = {
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


class Names(Recorder):
    def __init__(self, target):
        super().__init__(target)
        self.names = []

    def new(self, kernel, source, options):
        self.names.append(kernel.__name__)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from psa_kernels import PSAConfig
    from tests import pack_import

    pack_import.install()
    recorder = Names(target_of("cuda:90"))
    record(recorder)
    common = {"block_n": 128, "tail": 128, "rearrange_method": "Gilbert", "mask_ratios": FIRST}
    for name, own in CALLS.items():
        recorder.names.clear()
        call(PSAConfig(**{**common, **own}), "bfloat16", 128)
        print(json.dumps([name, recorder.names]), flush=True)
