"""Seconds of a process's first sparse call on the GPU, compilation included.

    TRITON_CACHE_DIR=$(mktemp -d) python3 -m benchmarks.cold_start    # again: from the cache
"""

import time

import torch

from psa_kernels import PSAConfig, psa_attention

config = PSAConfig(
    block_n=128, tail=64, second_moment=True, rearrange_method="Gilbert",
    mask_ratios={1: (0, 0.05), 8: (0.05, 0.2), 0: (0.2, 1)},
)  # fmt: skip
q, k, v = (torch.randn(1, 2000, 4, 128, device="cuda", dtype=torch.bfloat16) for _ in range(3))
q, k, v = (x.transpose(1, 2) for x in (q, k, v))
torch.cuda.synchronize()
start = time.time()
out = psa_attention(q, k, v, config=config, grid=(5, 20, 20))
torch.cuda.synchronize()
print(f"first call {time.time() - start:.2f} s, finite {bool(torch.isfinite(out).all())}")
