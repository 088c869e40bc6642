"""The checks, in the order in which one depends on the other."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from types import ModuleType

import torch

from .. import measured, reference
from ..capability import Call, refusal
from ..implementations import TRITON
from ..triton import versions
from .agreement import TOLERANCE, agreement, dense_error
from .cases import BASE, FEATURES, USUAL, Case, make_call
from .diagnosis import REPORT_IT, TooOldError, diagnose, not_installed
from .machine import describe, gpu_name, other_gpu, triton_version
from .report import FAILED, OK, SKIPPED, Check, Report
from .served import rows, served_here

Setting = tuple[Case, torch.dtype, int]  # a case, a dtype, a head dim

# what happens to calls
SLOW = "the torch reference, which is slow"
DENSE = f"stay dense in ComfyUI; elsewhere they run on {SLOW}"
ASIDE = "in ComfyUI those that raise an error or give no numbers run dense"


def run_selftest(every: bool = False) -> Report:
    """Tries what this machine can run.

    Each configuration compiles its own kernels, which takes about ten seconds without a cache.
    Without `every` the kernels run the few configurations that presets are made of; with it they
    run every feature in every dtype, which can take minutes.

    It runs in this process: a broken GPU driver that kills a process kills this one.
    """
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    cpu = torch.device("cpu")
    checks = [check_dense(reference, "torch reference on the CPU", cpu, torch.float32)]
    if on_gpu:
        checks.append(check_agreement(reference, "torch reference on the GPU", device))
    kernels = _triton(device, every)
    _, served = _attempt("Calls that the kernels take", lambda: served_here(device))
    served = replace(served, lines=(*served.lines, *rows()))
    return Report(describe(), (*checks, *kernels, served), _serving(device, kernels))


def _triton(device: torch.device, every: bool = False) -> list[Check]:
    """Import, a kernel of a few lines, then the real ones: each only if the one before works."""
    name = "Triton imports"
    runs_here = device.type == "cuda" or versions.interpreting()
    if not triton_version() and not _importable():
        missing = not_installed()
        if device.type == "cuda":
            return [Check(name, FAILED, missing.what, missing.remedy)]
        detail = f"{missing.what}; without a GPU it would not be used"
        return [Check(name, SKIPPED, detail)]
    found, check = _attempt(name, _import_triton)
    checks = [check]
    if not found:
        return checks
    if not runs_here:
        detail = "no CUDA or ROCm GPU here that torch can use, and they run on no other"
        return [*checks, Check("Triton kernels", SKIPPED, detail)]

    reason = _unsupported(device)
    if reason:
        remedy = f"nothing to install: calls {DENSE}"
        return [*checks, Check("PSA's Triton kernels", FAILED, reason, remedy)]
    ran, check = _attempt("Triton compiles and launches a kernel", lambda: _probe(device))
    checks.append(check)
    if not ran:
        return checks
    from .. import triton as kernels

    cases = FEATURES if every else USUAL
    dtype = usual_dtype(device)
    checks.append(check_dense(kernels, "Triton kernels", device, dtype, cases))
    checks.append(check_agreement(kernels, "Triton kernels", device, every))
    if device.type == "cuda":
        checks += _settings(device)
    return checks


def _settings(device: torch.device) -> list[Check]:
    """What the kernels are launched with for each head size that can be measured."""
    from .settings import measured_settings, settings_in_use

    said = {f"Settings for heads of {dim}": partial(settings_in_use, device, dim)
            for dim in measured.HEAD_DIMS}  # fmt: skip
    said["Measured settings"] = partial(measured_settings, device)
    return [_attempt(name, say)[1] for name, say in said.items()]


def _importable() -> bool:
    from importlib.util import find_spec

    try:
        return find_spec("triton") is not None
    except (ImportError, ValueError):
        return True  # something of that name is there, and broken


def _import_triton() -> str:
    import triton
    import triton.language

    version = str(triton.__version__)
    if reason := versions.too_old(version):
        raise TooOldError(f"{reason}, the oldest that PSA supports")
    return version


def _probe(device: torch.device) -> str:
    from .probe_kernel import error_of_probe

    error = error_of_probe(device)
    if not error <= 1e-3:
        raise _WrongNumbersError(
            f"it launched a small matrix product, and the result is wrong (rel-L2 {error:.1e})"
        )
    where = "in its interpreter, on the CPU" if device.type == "cpu" else f"for {gpu_name()}"
    return where


class _WrongNumbersError(Exception):
    """A kernel that ran and computed something else."""


def _unsupported(device: torch.device) -> str:
    """Why the kernels would not serve an ordinary call; the interpreter is not asked."""
    if device.type != "cuda":
        return ""
    call = make_call(BASE, device, torch.float16, 64)
    return refusal(TRITON.limits, Call(device, torch.float16, call.layout, call.config))


def _attempt(name: str, action: Callable[[], str]) -> tuple[bool, Check]:
    """Runs `action`, which says what it found or raises."""
    try:
        return True, Check(name, OK, action())
    except _WrongNumbersError as error:
        remedy = "update the GPU driver, and torch with the Triton that goes with it; " + REPORT_IT
        return False, Check(name, FAILED, str(error), remedy)
    except Exception as error:
        found = diagnose(error)
        lines = tuple("".join(traceback.format_exception(error)).splitlines())
        return False, Check(name, FAILED, found.what, found.remedy, lines)


def check_dense(
    package: ModuleType,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    cases: Sequence[Case] = FEATURES,
) -> Check:
    """Whether every configuration that loses nothing gives dense attention.

    Keys and values are constant over groups, so pooling them must change nothing: this is the one
    check that does not lean on the reference.
    """

    def distance(case: Case, dtype: torch.dtype, dim: int) -> tuple[bool, float, str]:
        call = make_call(case, device, dtype, dim, lossless=True)
        error = dense_error(package, **vars(call))
        return error <= TOLERANCE[dtype].output, error, f"rel-L2 {error:.1e}"

    settings = [(case, dtype, 128) for case in cases if case.lossless]
    return _run_cases(f"{name}: dense where nothing is lost", settings, distance)


def check_agreement(
    package: ModuleType, name: str, device: torch.device, every: bool = True
) -> Check:
    """Whether all stages agree with the float32 reference."""

    def distance(case: Case, dtype: torch.dtype, dim: int) -> tuple[bool, float, str]:
        call = make_call(case, device, dtype, dim)
        found = agreement(package, **vars(call))
        return found.within(TOLERANCE[dtype]), found.output, str(found)

    return _run_cases(f"{name}: agrees with the reference", settings_for(device, every), distance)


def usual_dtype(device: torch.device) -> torch.dtype:
    # Triton's interpreter computes products of bfloat16 wrongly
    return torch.float16 if device.type == "cpu" else torch.bfloat16


def settings_for(device: torch.device, every: bool = True) -> list[Setting]:
    """Every feature in the usual dtype, and one case in every dtype and head dim; or a few."""
    usual = usual_dtype(device)
    if not every:
        others = [(BASE, usual, 64), (BASE, torch.float16, 128)]
        return [(case, usual, 128) for case in USUAL] + others[: 1 if usual == torch.float16 else 2]
    return [(case, usual, 128) for case in FEATURES] + [
        (BASE, dtype, dim)
        for dtype in dict.fromkeys((usual, torch.float16, torch.float32))
        for dim in (64, 80, 128)
        if (dtype, dim) != (usual, 128)
    ]


def _run_cases(
    name: str,
    settings: Iterable[Setting],
    distance: Callable[[Case, torch.dtype, int], tuple[bool, float, str]],
) -> Check:
    """`distance` gives (right, error, words) of a case, or raises; one check for all of them."""
    lines, failures, remedies, worst, count = [], [], [], 0.0, 0
    for case, dtype, dim in settings:
        label = f"{case.label} ({str(dtype).removeprefix('torch.')}, head dim {dim})"
        count += 1
        try:
            right, error, words = distance(case, dtype, dim)
            worst = max(worst, error)
        except Exception as raised:
            found = diagnose(raised)
            right, words = False, found.what
            remedies.append(found.remedy)
            lines += "".join(traceback.format_exception(raised)).splitlines()
        lines.append(f"{'ok    ' if right else 'FAILED'} {label}: {words}")
        if not right:
            failures.append(f"{label}: {words}")
    if failures:
        detail = f"{len(failures)} of {count} cases fail; first: {failures[0]}"
        remedy = remedies[0] if remedies else "do not trust its results; " + REPORT_IT
        return Check(name, FAILED, detail, remedy, tuple(lines))
    return Check(name, OK, f"{count} cases, error at most {worst:.1e}", lines=tuple(lines))


def _serving(device: torch.device, kernels: Iterable[Check]) -> str:
    """What becomes of an ordinary call here; `kernels`: what their checks found."""
    if device.type == "cpu":
        other = other_gpu()
        return f"{DENSE} (PSA has no kernels for {other})" if other else f"run on {SLOW}"
    try:
        reason = _unsupported(device)
    except Exception as error:
        return f"cannot be served: {diagnose(error).what}"
    if reason:
        return f"{DENSE} ({reason})"
    failed = [check.name for check in kernels if check.state == FAILED]
    if failed:
        return f'are tried on the Triton kernels, where "{failed[0]}" failed; {ASIDE}'
    return "run on the Triton kernels"
