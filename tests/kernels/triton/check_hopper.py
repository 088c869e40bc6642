"""The attention for Hopper GPUs: against the reference, against itself, and where it fails.

As a program, which needs TRITON_INTERPRET=1 and no GPU: what follows where it cannot be launched.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
import math
import sys
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from tests import pack_import

    pack_import.install()
    __package__ = "psa_pack.tests.kernels.triton"

import psa_kernels.triton as line
from psa_kernels import PSAConfig
from psa_kernels.layout import Layout
from psa_kernels.stages import Orders
from psa_kernels.triton import hopper, tuning

from . import check
from .cases import Case, random_case

DTYPES = (torch.bfloat16, torch.bfloat16, torch.float16)
DIMS = (72, 96, 120, 128, 128, 128)
PROGRAMS = 3  # of a launch that has every program do many blocks
FEW = {1: (0, 0.3), 8: (0.3, 0.6), 0: (0.6, 1)}
EVERY = {1: (0, 0.2), 2: (0.2, 0.4), 4: (0.4, 0.6), 8: (0.6, 0.8), 0: (0.8, 1)}
FULL = {1: (0, 0.4), 0: (0.4, 1)}
SPREAD = {"tail": 64, "second_moment": True}


@dataclasses.dataclass(frozen=True)
class Listed:
    """A call of two batches; `longer`: what queries are times."""

    settings: dict
    grid: tuple[int, int, int]
    extra: tuple[int, int] = (0, 0)
    heads: tuple[int, int] = (2, 2)
    dim: int = 128
    dtype: torch.dtype = torch.bfloat16
    longer: float = 1
    scale: float | None = None
    contiguous: bool = False


RAGGED = (5, 17, 23)
CASES = (
    Listed({"mask_ratios": FULL}, (4, 16, 16)),
    Listed({"mask_ratios": FULL, "qk": "int8"}, (4, 16, 16), contiguous=True),
    Listed({"mask_ratios": FEW, **SPREAD}, (5, 18, 22), (30, 10), (4, 2), contiguous=True),
    Listed({"mask_ratios": FEW, **SPREAD, "qk": "int8"}, (5, 18, 22), (30, 10), (4, 2)),
    Listed({"mask_ratios": EVERY, **SPREAD, "tail": 16}, RAGGED, (0, 200), (2, 1), 96,
           torch.float16),
    Listed({"mask_ratios": EVERY, **SPREAD, "tail": 16, "qk": "int8"}, RAGGED, (0, 200), (2, 1), 96,
           torch.float16),
    Listed({"mask_ratios": EVERY}, RAGGED, (130, 300), dim=120, scale=-0.1),
    # queries that need a running maximum
    Listed({"mask_ratios": {1: (0, 0.1), 4: (0.1, 0.5), 0: (0.5, 1)}, "tail": 128}, (7, 17, 23),
           longer=30),
    Listed({"mask_ratios": {1: (0, 0.1), 4: (0.1, 0.5), 0: (0.5, 1)}, "tail": 128,
            "second_moment": True, "qk": "int8"}, (7, 17, 23), (5, 0), longer=30),
    Listed({"mask_ratios": {8: (0, 1)}}, (5, 16, 22), (0, 7)),
    Listed({"mask_ratios": {1: (0, 1)}, "qk": "int8"}, (5, 16, 22), (0, 7)),
    Listed({"mask_ratios": FEW, **SPREAD, "use_rearrange": False}, (9, 24, 20), (0, 77), longer=4),
    Listed({"mask_ratios": FULL, **SPREAD, "tail": 8, "qk": "int8"}, (9, 24, 20),
           dtype=torch.float16, longer=4),
)  # fmt: skip


def listed(number: int, device: str) -> Case:
    """Tokens are like their neighbours, so that levels differ in what they are worth."""
    one = CASES[number]
    length = math.prod(one.grid) + sum(one.extra)
    rng = torch.Generator().manual_seed(number)
    base = torch.randn(2, 1, length // 16 + 1, one.dim, generator=rng).repeat_interleave(16, 2)
    q, k, v = (
        base[:, :, :length] + 0.7 * torch.randn(2, heads, length, one.dim, generator=rng)
        for heads in (one.heads[0], one.heads[1], one.heads[1])
    )
    q, k, v = (x.to(device, one.dtype) for x in (q * one.longer, k, v))
    if not one.contiguous:
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
    config = PSAConfig(block_n=128, rearrange_method="Gilbert", **one.settings)
    keywords = {"grid": one.grid, "extra": one.extra, "scale": one.scale}
    return Case(q, k, v, config, keywords, ordinary=one.longer == 1, finite_only=False)


def drawn(seed: int, device: str) -> Case:
    """As `random_case`, of what the kernel serves."""
    case = random_case(seed, DTYPES, DIMS, device=device)
    config = case.config.replace(block_m=128, block_n=128, value_sums="float32")
    return dataclasses.replace(case, config=config, keywords=case.keywords | {"causal": False})


def check_case(seed: int, device: str = "cuda") -> None:
    """Those of `CASES` first, then random ones."""
    case = listed(seed, device) if seed < len(CASES) else drawn(seed, device)
    run = check.finite if case.finite_only else check.check
    with launches() as launched:
        run(case.q, case.k, case.v, case.config, ordinary=case.ordinary, **case.keywords)
    assert launched, "the kernel for Hopper GPUs does not serve the call"


@contextmanager
def launches():
    """The launches from here on, none of which may fail. Each is made again, twice: with as many
    programs and with few, which must change no bit; nothing that was in the output may stay."""
    module = importlib.import_module(f"{hopper.__name__}.launch")
    real, own, made = module.launch, module._multiprocessors, []

    def launch(q, out, *rest):
        found = []
        for count in (own(q.device), own(q.device), PROGRAMS):
            out.fill_(torch.nan)
            with mock.patch.object(module, "_multiprocessors", lambda device, n=count: n):
                made.append(real(q, out, *rest))
            found.append(out.clone())
        for one, name in zip(found[1:], ("again", "with few programs"), strict=True):
            # bits: NaN is not equal to itself
            same = torch.equal(one.view(torch.int16), found[0].view(torch.int16))
            assert same, f"the result differs {name}"
        return made[-1]

    def fail(error):
        raise error

    with mock.patch.object(module, "launch", launch), mock.patch.object(hopper, "give_up", fail):
        yield made


def check_spoiled(qk: str, device: str = "cuda") -> None:
    """NaN and Inf arrive where they are read, and change no bit elsewhere. Then huge logits.

    In the first head: a tile past the end of a head's rows reads those of the next, at weight 0.
    """
    config = PSAConfig(block_n=128, use_rearrange=False, mask_ratios=FEW, qk=qk, **SPREAD)
    rng = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 1, 2, 1040, 128, generator=rng).to(device, torch.bfloat16)
    layout = Layout.of(*clean, config, extra_tokens=(0, 40))

    def out_of(values):
        with launches() as launched:
            *_, out = check.run(*values, config, layout, Orders(), 128**-0.5)
        assert launched
        return out

    expected = out_of(clean)
    assert expected.isfinite().all()
    infinite = torch.nan, torch.inf, -torch.inf
    for name, spoils in (("q", infinite), ("k", (torch.nan,)), ("v", infinite)):
        for spoil in spoils:
            values = clean.clone()
            values["qkv".index(name), 0, 0, 40, 3] = spoil
            spoilt, may_change = torch.zeros(2, *expected.shape, dtype=torch.bool, device=device)
            if name == "q":
                spoilt[0, 0, 40] = True
                may_change[0, 0, :128] = True  # other levels, since the mean is NaN
            elif name == "k":
                spoilt[0, 0] = may_change[0, 0] = True
            else:
                spoilt[0, 0, :, 3] = may_change[0, 0, :, 3] = True
            out = out_of(values)
            assert torch.equal(~out.isfinite(), spoilt), f"{spoil} in {name}"
            assert torch.equal(out[~may_change], expected[~may_change]), f"{spoil} in {name}"
    q, k, v = clean
    with launches() as launched:
        # up to 2^28 or so: rounding then makes weights of up to 2^16
        check.finite(100 * q, 100 * k, v, config, extra=(0, 40), scale=1e3)
    assert launched


class Refusing:
    """Stands in for `hopper.launch`."""

    def __init__(self, error):
        self.error, self.calls, self.given_up = error, 0, []

    def launch(self, *arguments):
        self.calls += 1
        raise self.error


@contextmanager
def refusing(error):
    """A GPU that the kernel is for, where it fails with `error`."""
    module = Refusing(error)
    name = f"{hopper.__name__}.launch"
    with (
        mock.patch.object(hopper, "is_hopper", lambda device: True),
        mock.patch.object(hopper, "_lacking", lambda device: ""),
        mock.patch.object(hopper, "_given_up", module.given_up),
        mock.patch.dict(sys.modules, {name: SimpleNamespace(launch=module.launch)}),
    ):
        yield module


def check_given_up(device: str, dtype: torch.dtype) -> None:
    """Where it cannot be launched the other kernel serves this call and all others, which is said
    once. Not where the settings are the caller's choice, where memory is missing, or where the
    other kernel fails too."""
    config = PSAConfig(block_n=128, use_rearrange=False, mask_ratios={1: (0, 1)})
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 1, 1, 200, 72, generator=rng).to(device, dtype)
    layout = Layout.of(q, k, v, config)
    pyramid, _, plan, _ = check.run(q, k, v, config, layout, Orders(), 0.1)
    arguments = q, pyramid, plan, Orders(), layout, config, 0.1
    settings, portable = tuning.SPECIALISED["half"], tuning.portable_attend(q.device, dtype, 128)
    wanted = line.attend(*arguments, portable)
    said = []
    unknown = RuntimeError("no such name\nin Gluon")
    with (
        mock.patch.object(hopper.log, "warning", lambda *text: said.append(text[0] % text[1:])),
        mock.patch.object(tuning, "attend", lambda *of_call: settings),
    ):
        full = RuntimeError("Triton Error [CUDA]: out of memory")
        for error, given in ((torch.OutOfMemoryError("out of memory"), ()), (full, ()),
                             (unknown, (settings,))):  # fmt: skip
            with refusing(error) as module, pytest.raises(type(error)):
                line.attend(*arguments, *given)
            assert module.calls == 1 and not module.given_up and not said
        failing = dataclasses.replace(portable, rows=0)
        with (
            refusing(unknown) as module,
            mock.patch.object(tuning, "portable_attend", lambda *of_call: failing),
            pytest.raises(ZeroDivisionError),
        ):
            line.attend(*arguments)
        assert module.calls == 1 and not module.given_up and not said
        with refusing(unknown) as module:
            for _ in range(3):
                launched = []
                out = line.attend(*arguments, launched=launched)
                assert torch.equal(out, wanted) and len(launched) == 1
            assert module.calls == 1 and len(said) == 1
            assert "(RuntimeError: no such name)" in said[0] and "\n" not in said[0]
            assert said[0].startswith(module.given_up[0])
            with pytest.raises(ValueError) as found:
                line.attend(*arguments, settings)
            assert module.given_up[0] in str(found.value)


if __name__ == "__main__":
    broken = importlib.import_module("psa_pack.tests.kernels.interpreter").broken()
    if broken:
        sys.exit(broken)
    logging.disable()
    check_given_up("cpu", torch.float16)
    print("all good")
