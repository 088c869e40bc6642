"""Which clip sizes are trained when: small ones first, since most of what is learned is local.

A size is (frames, rows, columns) in tokens: 2 video frames and 8 x 8 pixels each.  Sizes of one
number of tokens share a compiled program.
"""

from ..tiny_wan.curriculum import TINY, Stages

# (until which share of the training, {size: share of the steps}); all steps have about equally
# many tokens
DEFAULT: Stages = (
    (0.35, {(1, 32, 32): 0.40, (4, 16, 16): 0.60}),
    (0.70, {(1, 32, 32): 0.10, (4, 16, 16): 0.15, (4, 32, 32): 0.45, (8, 32, 32): 0.30}),
    (1.00, {(4, 32, 32): 0.20, (8, 32, 32): 0.45, (16, 32, 32): 0.32, (21, 30, 52): 0.03}),
)

CURRICULA = {"default": DEFAULT, "tiny": TINY}
