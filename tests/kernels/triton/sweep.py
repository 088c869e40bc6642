"""Random configurations through the kernels, several processes at a time.

    python tests/kernels/triton/sweep.py FIRST COUNT PROCESSES [hopper]

On this machine's GPU; or with TRITON_INTERPRET=1 set small ones in Triton's interpreter, which
multiplies bfloat16 wrongly. Compiling is what takes the time: every process has its own seeds.
With "hopper" only what the kernel for Hopper GPUs serves: see `check_hopper.check_case`.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[3]
DTYPES = (torch.bfloat16, torch.bfloat16, torch.float16, torch.float32)
DIMS = (16, 64, 64, 96, 128, 128, 128, 256)


def one(seed: int, device: str, dtypes, dims, most_tokens=10**9, hopper=False) -> str:
    """'' or what went wrong."""
    # as pytest imports it, and by the pack's name where this is a program
    package = __package__ or "psa_pack.tests.kernels.triton"
    check = importlib.import_module(f"{package}.check")
    random_case = importlib.import_module(f"{package}.cases").random_case

    try:
        if hopper:
            importlib.import_module(f"{package}.check_hopper").check_case(seed)
            return ""
        case = random_case(seed, dtypes, dims, most_tokens, device)
        run = check.finite if case.finite_only else check.check
        run(case.q, case.k, case.v, case.config, ordinary=case.ordinary, **case.keywords)
    except Exception as error:
        place = traceback.format_exc().strip().splitlines()
        return (
            f"seed {seed}: {type(error).__name__}: {str(error)[:400]} | {place[-3].strip()[:120]}"
        )
    return ""


def worker(number: int, first: int, count: int, step: int, hopper: bool) -> int:
    failed = done = 0
    end = time.time() + float(os.environ.get("PSA_SWEEP_SECONDS", 1e9))
    torch.set_num_threads(1)
    if number == 0 and os.environ.get("TRITON_INTERPRET") == "1":
        broken = importlib.import_module("psa_pack.tests.kernels.interpreter").broken()
        if broken:
            print(broken, flush=True)
            return 1
        check = importlib.import_module("psa_pack.tests.kernels.triton.check")
        check.check_spoiled("cpu")
        check.check_spoiled_groups("cpu")
        importlib.import_module("psa_pack.tests.kernels.triton.check_lists").check_long_rows("cpu")
        sums = importlib.import_module("psa_pack.tests.kernels.triton.check_sums")
        for part in (sums.check_values, sums.check_huge_logits):
            part("cpu")
    # three neighbouring seeds share a configuration, and so what is compiled: of each the first
    # where nothing is
    apart = 3 if os.environ.get("TRITON_INTERPRET") == "1" else 1
    share = count // step + 1
    semantic = importlib.import_module("psa_kernels.reference.semantic")
    own = semantic.GATHERED, semantic.MOST_VARIANCE
    for i in range(number * share, min(count, (number + 1) * share)):
        seed = first + i * apart
        # no head of random tokens would take its clusters by itself
        clustered = (float("inf"),) * 2 if seed % 2 else own
        semantic.GATHERED, semantic.MOST_VARIANCE = clustered
        if os.environ.get("TRITON_INTERPRET") == "1":
            # every round of k-means runs the same two kernels
            importlib.import_module("psa_kernels.triton.clusters").FIRST_ROUNDS = 2
            message = one(seed, "cpu", (torch.float32, torch.float16), (8, 16, 32), 450)
        else:
            message = one(seed, "cuda", DTYPES, DIMS, hopper=hopper)
        done += 1
        if message:
            failed += 1
            print(message, flush=True)
        if time.time() > end:
            break
    print(f"process {number}: {done} done, {failed} failed", flush=True)
    return failed


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    from tests import pack_import

    pack_import.install()
    first, count, processes = (int(x) for x in sys.argv[1:4])
    hopper = sys.argv[4:] == ["hopper"]
    if "PSA_SWEEP" in os.environ:
        from tests.kernels.poison import poisoned

        with poisoned():
            failed = worker(int(os.environ["PSA_SWEEP"]), first, count, processes, hopper)
        sys.exit(min(1, failed))
    jobs = [
        subprocess.Popen(
            [sys.executable, __file__, *sys.argv[1:]], env={**os.environ, "PSA_SWEEP": str(i)}
        )
        for i in range(processes)
    ]
    codes = [job.wait() for job in jobs]
    print(
        f"up to {count} configurations from seed {first}:",
        "all good" if not any(codes) else f"FAILED {codes}",
    )
    sys.exit(max(codes))
