"""How many kernels this process has compiled, to recognise calls that waited for the compiler."""

from __future__ import annotations

import sys

_KERNELS = {
    "clusters": ("_nearest_kernel", "_sum_kernel"),
    "grouping_kernel": ("bisect_kernel", "power_kernel", "scales_kernel"),
    "pyramid_kernel": ("pool_kernel",),
    "head_scales_kernel": ("sum_keys_kernel", "peak_kernel", "bytes_kernel"),
    "estimate_kernel": ("pool_queries_kernel", "mass_kernel", "share_kernel"),
    "levels_kernel": ("levels_kernel",),
    "attend_kernel": ("attend_kernel",),
    "hopper.kernel": ("hopper_kernel",),
}


def compiled_kernels() -> int:
    """Kernels of this package compiled, or loaded from Triton's cache, in this process.

    The number never falls. It is 0 if nothing has used Triton yet; this call does not import it.
    """
    count = 0
    for name, kernels in _KERNELS.items():
        module = sys.modules.get(f"{__package__}.{name}")
        for kernel in kernels if module else ():
            function = getattr(module, kernel, None)
            # device -> (kernels, ...); a list, because another thread may be compiling
            for made, *_ in list(getattr(function, "device_caches", {}).values()):
                count += len(made)
    return count
