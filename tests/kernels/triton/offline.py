"""Compiles the kernels for GPUs that are not there: what a launch would compile, without launching.

Run as a program, since Triton reads its settings when it is imported:

    python offline.py cuda:90:bfloat16:128:all cuda:86,89:bfloat16:64:some,sums ...

prints one line of JSON per kernel and GPU: shared memory, the registers and spills that ptxas or
the AMD assembler report, and which products NVIDIA's instructions are. What Triton compiles for the
first of several architectures is assembled for the others too: it compiles the same for them.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SHARED = {80: 163, 86: 99, 89: 99, 90: 227, 100: 227, 120: 99}  # KiB a program may use
LDS = 64  # KiB, AMD


def _tools():
    import triton

    return Path(triton.__file__).parent / "backends" / "nvidia" / "bin"


def target_of(name: str):
    from triton.backends.compiler import GPUTarget

    kind, arch = name.split(":")
    if kind == "cuda":
        return GPUTarget("cuda", int(arch), 32)
    return GPUTarget("hip", arch, 64 if arch.startswith("gfx9") else 32)


def amd_resources(text: str) -> dict:
    """Of a kernel's assembly."""
    found = {m: re.findall(rf"\.{m}:?\s+(\d+)", text) for m in ("vgpr_count", "vgpr_spill_count")}
    return {
        "registers": int(found["vgpr_count"][0]),
        "spills": int((found["vgpr_spill_count"] or ["0"])[0]),
    }


def nvidia_resources(ptx: str, arch: int) -> dict:
    """Registers, spilled bytes, whether matrix products are of bytes, or have float16 sums, and
    whether ptxas makes asynchronous ones wait for each other."""
    tool = _tools() / ("ptxas-blackwell" if arch >= 100 else "ptxas")
    with tempfile.TemporaryDirectory() as folder:
        source, cubin = Path(folder, "kernel.ptx"), Path(folder, "kernel.cubin")
        source.write_text(ptx)
        name = f"sm_{arch}{'a' if arch >= 90 else ''}"
        command = [tool, "-v", f"--gpu-name={name}", source, "-o", cubin]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        sass = ""
        if "mma" in ptx:  # to disassemble what has no matrix product takes long and shows nothing
            command = [_tools() / "cuobjdump", "-sass", cubin]
            sass = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = re.search(r"Used (\d+) registers", text)
    spills = re.search(r"(\d+) bytes spill stores", text)
    return {
        "registers": int(used[1]), "spills": int(spills[1]),
        "int8": bool(re.search(r"\b(IMMA|IGMMA|UTCIMMA)\b", sass)),
        # HMMA.16816.F16; sums in float32 say .F32.F16 or .F32.BF16
        "half_sums": bool(re.search(r"\b(HMMA|HGMMA)\.\w+\.F16\b", sass)),
        "serialised": bool(re.search(r"\bC75(0[89]|1\d|20)\b|serialized", text)),
    }  # fmt: skip


def _source_class(kernel) -> type:
    if kernel.__name__ in HOPPER_KERNELS:
        from triton.experimental.gluon._runtime import GluonASTSource

        return GluonASTSource
    from triton.compiler import ASTSource

    return ASTSource


class Recorder:
    """Stands in for a launch: compiles each kernel once for `target`, and assembles it for `others`
    too, which are architectures of NVIDIA's."""

    def __init__(self, target, others=()):
        self.target, self.others, self.done, self.lines = target, others, set(), []
        self.features, self.only = "", None

    def __call__(self, kernel, *args, grid, warmup=False, **kwargs):
        if self.only and kernel.__name__ not in self.only:
            return
        from triton.compiler import make_backend
        from triton.runtime import jit

        backend = make_backend(self.target)
        bind = jit.create_function_from_signature(kernel.signature, kernel.params, backend)
        bound, specialization, options = bind(*args, **kwargs)
        kwargs.setdefault("debug", False)
        options, signature, constants, attributes = kernel._pack_args(
            backend, kwargs, bound, specialization, options
        )
        source = _source_class(kernel)(kernel, signature, constants, attributes)
        key = (kernel.__name__, source.hash(), str(options))
        if key in self.done:
            return
        self.done.add(key)
        self.new(kernel, source, options)

    def new(self, kernel, source, options):
        """A kernel that nothing before has compiled."""
        import triton

        compiled = triton.compile(source, target=self.target, options=options.__dict__)
        for arch in (self.target.arch, *self.others):
            if self.target.backend == "hip":
                found = amd_resources(compiled.asm["amdgcn"])
            else:
                found = nvidia_resources(compiled.asm["ptx"], arch)
            self.lines.append({
                "target": f"{self.target.backend}:{arch}", "features": self.features,
                "kernel": kernel.__name__, "shared": compiled.metadata.shared, **found,
            })  # fmt: skip
        for arch in self.others if kernel.__name__ == "_nearest_kernel" else ():
            target = type(self.target)(self.target.backend, arch, self.target.warp_size)
            again = triton.compile(source, target=target, options=options.__dict__)
            assert same_but_for_the_target(compiled.asm["ptx"], again.asm["ptx"])


def same_but_for_the_target(one: str, other: str) -> bool:
    return len({re.sub(r"(?m)^\.target.*", "", ptx) for ptx in (one, other)}) == 1


EVERY = {1: (0, 0.2), 2: (0.2, 0.3), 4: (0.3, 0.5), 8: (0.5, 0.7), 0: (0.7, 1)}
# features -> settings of one call, and the kernels that others have not
PRECISIONS = {
    "int8": ({"qk": "int8"}, {"attend_kernel", "bytes_kernel", "pool_kernel"}),
    "sums": ({"value_sums": "float16"}, {"attend_kernel", "peak_kernel"}),
    "both": ({"qk": "int8", "value_sums": "float16"}, {"attend_kernel"}),
}
TUNED = {"attend_kernel", "mass_kernel"}  # those that an architecture has settings of its own for
# features -> settings of a call that the kernel for Hopper GPUs serves
HOPPER = {
    "level 1": {"mask_ratios": {1: (0, 1)}},
    "level 8": {
        "tail": 64, "second_moment": True, "mask_ratios": {1: (0, 0.2), 8: (0.2, 0.7), 0: (0.7, 1)}
    },
    "every level": {"tail": 16, "second_moment": True, "mask_ratios": EVERY},
}  # fmt: skip
HOPPER |= {f"{name} int8": settings | {"qk": "int8"} for name, settings in HOPPER.items()}
HOPPER_KERNELS = {"hopper_kernel"}


def calls(features: str):
    """(config, keyword arguments of the call) that between them use every part of every kernel."""
    from psa_kernels import PSAConfig

    large = {"block_n": 128, "tail": 32, "second_moment": True, "mask_ratios": EVERY}
    if features in HOPPER:
        yield PSAConfig(block_n=128, rearrange_method="Gilbert", **HOPPER[features]), {}
        return
    if features in PRECISIONS:
        few = {1: (0, 0.2), 8: (0.2, 0.7), 0: (0.7, 1)}
        settings, _ = PRECISIONS[features]
        yield PSAConfig(block_n=128, tail=64, mask_ratios=few, **settings), {}
        return
    yield PSAConfig(**large, rearrange_method="Hybrid", grouping="similar"), {}
    if features != "all":
        return
    yield PSAConfig(**large, rearrange_method="Hybrid"), {}
    old = {"attn_impl": "old_mask_type", "block_n": 128, "tail": 64}
    yield PSAConfig(mask_ratios=EVERY), {}
    yield (
        PSAConfig(block_n=32, block_m=64, tail=16, mask_mode="thresholdbound", mask_ratios=EVERY),
        {},
    )
    yield PSAConfig(**old, use_sim_mask=True, mask_ratios=EVERY), {}
    yield PSAConfig(**old, mask_ratios=EVERY), {"causal": True}
    yield PSAConfig(block_n=32, grouping="similar", mask_ratios=EVERY), {}


def record(recorder: Recorder) -> None:
    """From here on launches go to `recorder`, as on its target."""
    from triton.backends.nvidia.compiler import CUDABackend
    from triton.runtime.jit import JITFunction

    from psa_kernels import measured
    from psa_kernels.triton import attention, descriptors, hopper, pyramid, tuning

    measured.forget()
    hopper._lacking.cache_clear()
    hopper.is_hopper = lambda device: recorder.features in HOPPER
    for launch_of in (attention._launch_of, pyramid._launch_of):
        launch_of.cache_clear()
    target = recorder.target
    arch = target.arch if target.backend == "hip" else f"sm_{target.arch}"
    tuning.architecture = lambda device: "sm_86" if arch == "sm_89" else arch
    tuning.interpreted = lambda device: False
    tuning.limits_registers = lambda device: target.backend == "cuda"
    tma = target.backend == "cuda" and target.arch >= 90
    tuning.has_tma = descriptors.has_tma = lambda device: tma
    # `resources` assembles, once is enough
    CUDABackend.make_cubin = lambda *_: b""
    JITFunction.run = lambda kernel, *args, **kwargs: recorder(kernel, *args, **kwargs)


def hopper_lacking() -> str:
    """Why the kernel for Hopper GPUs cannot be compiled; "" if it can, and then errors end it."""
    import torch

    from psa_kernels.triton import hopper

    if lacking := hopper.lacking(torch.device("cpu")):
        return lacking
    hopper.launch._multiprocessors = lambda device: 132
    hopper.give_up = _fail  # no other kernel takes its place
    return ""


def _fail(error: Exception):
    raise error


def call(
    config, dtype: str, dim: int, grid=(4, 15, 20), extra=(16, 16), heads=2, **keywords
) -> None:
    """Every stage of one call."""
    import torch

    import psa_kernels.triton as line
    from psa_kernels.layout import Layout

    tokens = math.prod(grid) + sum(extra)
    q, k, v = (
        torch.zeros(1, tokens, heads, dim, dtype=getattr(torch, dtype)).transpose(1, 2)
        for _ in range(3)
    )
    layout = Layout.of(q, k, v, config, grid=grid, extra_tokens=extra, **keywords)
    orders = line.reorder(q, k, layout, config)
    groups = None
    if config.grouping == "similar":
        groups = line.group_keys(q, k, v, orders, layout, config)
    pyramid = line.build_pyramid(k, v, orders, layout, config, groups)
    shares = line.importance(q, pyramid, orders, layout, config, dim**-0.5)
    plan = line.assign_levels(shares, pyramid, layout, config)
    line.attend(q, pyramid, plan, orders, layout, config, dim**-0.5)


def compile_all(kind: str, archs: list[str], dtype: str, dim: int, features: str) -> list[dict]:
    recorder = Recorder(target_of(f"{kind}:{archs[0]}"), [int(x) for x in archs[1:]])
    record(recorder)
    for name in features.split(","):
        recorder.features = name
        recorder.only = TUNED if name == "tuned" else PRECISIONS.get(name, (None, None))[1]
        if name in HOPPER:
            recorder.only = HOPPER_KERNELS
            if lacking := hopper_lacking():
                recorder.lines.append({"features": name, "lacking": lacking})
                continue
        for config, keywords in calls(name):
            call(config, dtype, dim, **keywords)
    return recorder.lines


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests import pack_import

    pack_import.install()
    # a cache of its own: what lies there is no program
    with tempfile.TemporaryDirectory() as os.environ["TRITON_CACHE_DIR"]:
        for job in sys.argv[1:]:
            kind, arch, dtype, dim, features = job.split(":")
            for line in compile_all(kind, arch.split(","), dtype, int(dim), features):
                print(json.dumps({"dtype": dtype, "dim": int(dim)} | line), flush=True)
