"""What the checks find in implementations that are wrong somewhere."""

import dataclasses
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from psa_kernels import reference
from psa_kernels.selftest import Check, Report, diagnosis, machine, run
from psa_kernels.selftest.agreement import TOLERANCE, agreement
from psa_kernels.selftest.cases import ALIKE, BASE, FEATURES, USUAL, make_call

CPU = torch.device("cpu")


def variant(**stages):
    """The reference with some stages replaced."""
    package = SimpleNamespace(**{name: getattr(reference, name) for name in reference.__all__})
    vars(package).update(stages)
    return package


def found_in(package, case=BASE, **sample):
    call = make_call(case, CPU, torch.float32, 64)
    return agreement(package, **vars(call), **sample)


@pytest.mark.parametrize("case", FEATURES, ids=lambda case: case.label)
def test_the_reference_agrees_with_itself(case):
    found = found_in(reference, case)
    assert found.within(TOLERANCE[torch.float32]), str(found)


def test_sampling_compares_the_same_thing():
    case = next(case for case in FEATURES if case.label == "extra tokens on both sides")
    found = found_in(reference, case, heads=[(0, 1)], blocks=[0, 2, 4])
    assert found.within(TOLERANCE[torch.float32]), str(found)


def test_wrong_output_is_found_in_a_sampled_block():
    def attend(*arguments):
        out = reference.attend(*arguments)
        out[:, 1, 256:384] *= 1.01  # query block 2 of raster order
        return out

    package = variant(attend=attend)
    assert found_in(package, heads=[(0, 1)], blocks=[2]).output > 5e-3
    assert found_in(package, heads=[(0, 1)], blocks=[1]).output < 1e-5


def test_unwritten_output_is_found():
    def attend(*arguments):
        out = reference.attend(*arguments)
        out[0, 0, 5, 3] = torch.nan
        return out

    assert found_in(variant(attend=attend)).output == float("inf")


def test_wrong_levels_and_importance_are_found():
    def importance(*arguments):
        return reference.importance(*arguments).roll(1, -1)

    def assign_levels(*arguments):
        plan = reference.assign_levels(*arguments)
        return dataclasses.replace(plan, matrix=plan.matrix.roll(1, -1))

    assert found_in(variant(importance=importance)).importance > 0.05
    found = found_in(variant(assign_levels=assign_levels))
    assert found.levels > 0.05 and found.output < 1e-5


def test_wrong_order_is_found():
    case = next(case for case in FEATURES if case.label == "Gilbert order")

    def reorder(*arguments):
        orders = reference.reorder(*arguments)
        return dataclasses.replace(orders, k=orders.k.roll(1, -1), q=orders.q.roll(1, -1))

    def repeat(*arguments):
        orders = reference.reorder(*arguments)
        k = orders.k.clone()
        k[..., 0] = k[..., 1]
        return dataclasses.replace(orders, k=k)

    assert not found_in(variant(reorder=reorder), case).orders
    assert not found_in(variant(reorder=repeat), case).orders


def test_wrong_groups_are_found():
    def repeat(*arguments):
        groups = reference.group_keys(*arguments)
        places = groups.places.clone()
        places[..., 0] = places[..., 1]
        return dataclasses.replace(groups, places=places)

    found = found_in(variant(group_keys=repeat), ALIKE)
    assert not found.groups and not found.within(TOLERANCE[torch.float32])
    assert "wrong groups of like keys" in str(found)
    assert found_in(reference, ALIKE).groups


def test_groups_that_mix_what_is_not_alike_are_found():
    """Each block keeps its keys, so only the loss tells."""

    def mix(*arguments):
        groups = reference.group_keys(*arguments)
        halves = groups.places.unflatten(2, (-1, 2, ALIKE.config.block_n // 2))
        return dataclasses.replace(groups, places=halves.transpose(3, 4).flatten(2))

    assert ALIKE in USUAL and ALIKE.lossless
    package = variant(group_keys=mix)
    assert found_in(package, ALIKE).within(TOLERANCE[torch.float32])
    check = run.check_dense(package, "x", CPU, torch.float32, USUAL)
    assert check.state == "failed" and "1 of 2 cases" in check.detail
    assert run.check_dense(reference, "x", CPU, torch.float32, USUAL).state == "ok"


def test_dense_check_does_not_lean_on_the_reference():
    def pool_without_counts(q, pyramid, plan, orders, layout, config, scale):
        return reference.attend(q, pyramid, plan, orders, layout, config, scale * 1.05)

    check = run.check_dense(variant(attend=pool_without_counts), "x", CPU, torch.float32)
    assert check.state == "failed" and "do not trust its results" in check.remedy
    assert "Traceback" not in check.detail


def test_a_stage_that_raises_is_reported_not_raised():
    def attend(*arguments):
        raise RuntimeError("Failed to find C compiler.")

    check = run.check_dense(variant(attend=attend), "x", CPU, torch.float32)
    assert check.state == "failed" and "no C compiler" in check.detail
    assert any("Traceback" in line for line in check.lines)


# --- what is missing ---


@pytest.fixture
def no_triton(monkeypatch):
    monkeypatch.setattr(run, "triton_version", lambda: "")
    monkeypatch.setattr(run, "_importable", lambda: False)


def test_no_triton_without_a_gpu_is_fine(no_triton):
    (check,) = run._triton(CPU)
    assert check.state == "skipped" and "not installed" in check.detail


@pytest.mark.parametrize(
    ("system", "package"), [("Linux", "install triton"), ("Windows", "install triton-windows")]
)
def test_no_triton_with_a_gpu_says_how_to_get_it(no_triton, monkeypatch, system, package):
    monkeypatch.setattr(platform, "system", lambda: system)
    (check,) = run._triton(torch.device("cuda"))
    assert check.state == "failed"
    assert package in check.remedy and sys.executable in check.remedy


def test_rocms_triton_is_had_from_where_its_torch_is(no_triton, monkeypatch):
    """PyPI's own `triton` would replace parts of the one that belongs to a torch for ROCm."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(torch.version, "hip", "6.4.43484-123eb5128")
    asked = ["filelock", "pytorch-triton-rocm==3.5.1; platform_system == 'Linux'"]
    monkeypatch.setattr(machine.metadata, "requires", lambda name: asked)
    (check,) = run._triton(torch.device("cuda"))
    assert "install pytorch-triton-rocm --index-url" in check.remedy
    assert check.remedy.endswith("/whl/rocm6.4")
    broken = diagnosis.diagnose(ImportError("undefined symbol"))
    assert "--no-deps pytorch-triton-rocm --index-url" in broken.remedy


def test_what_becomes_of_calls_is_what_comfyui_does_with_them(monkeypatch):
    """Apply PSA asks for kernels on whatever is no CPU, and otherwise leaves a call dense."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(run, "_unsupported", lambda device: "X is older than capability 8.0")
    assert "stay dense in ComfyUI" in run._serving(gpu, []) and "older" in run._serving(gpu, [])
    monkeypatch.setattr(run, "_unsupported", lambda device: "")
    assert run._serving(gpu, [Check("Triton imports", "ok")]) == "run on the Triton kernels"
    broken = Check("Triton compiles and launches a kernel", "failed", "no C compiler was found")
    said = run._serving(gpu, [broken])
    assert "run on the Triton kernels" not in said and broken.name in said and "dense" in said
    assert run._serving(CPU, []) == "run on the torch reference, which is slow"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "Apple" in run._serving(CPU, []) and "stay dense in ComfyUI" in run._serving(CPU, [])
    assert "Apple" in machine.describe()["GPU"]


def test_old_gpu_is_named(monkeypatch):
    monkeypatch.setattr(run, "_import_triton", lambda: "3.4.0")
    monkeypatch.setattr(run, "_unsupported", lambda device: "X is older than capability 8.0")
    imports, kernels = run._triton(torch.device("cuda"))
    assert imports.state == "ok" and kernels.state == "failed"
    assert "older than capability 8.0" in kernels.detail and "stay dense" in kernels.remedy


def test_missing_python_header_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(diagnosis, "_include_dir", lambda: str(tmp_path))
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    error = subprocess.CalledProcessError(1, ["gcc", "cuda_utils.c"])
    found = diagnosis.diagnose(error)
    assert "Python.h" in found.what and str(tmp_path) in found.what
    assert f"python3.{sys.version_info.minor}-dev" in found.remedy
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    assert "include and libs" in diagnosis.diagnose(error).remedy


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Cannot find ptxas"), "ptxas"),
        (AssertionError("libcuda.so cannot found!"), "driver's library"),
        (RuntimeError("0 active drivers ([]). There should only be one."), "no GPU driver"),
        (PermissionError(13, "Permission denied: '/root/.triton/cache'"), "cannot be written"),
        (RuntimeError("CUDA error: no kernel image is available"), "no code for this GPU"),
        (RuntimeError("out of resource: shared memory, Required: 1, limit: 0"), "than this GPU"),
        (ValueError("something never seen"), "something never seen"),
    ],
)
def test_errors_are_put_into_words(error, words):
    found = diagnosis.diagnose(error)
    assert words in found.what and found.remedy


def test_the_cause_behind_an_error_counts():
    try:
        try:
            raise RuntimeError("Failed to find C compiler.")
        except RuntimeError as inner:
            raise ValueError("could not initialise the driver") from inner
    except ValueError as error:
        assert "no C compiler" in diagnosis.diagnose(error).what


def test_report_is_plain_data_and_text():
    report = Report({"Python": "3"}, (Check("a", "ok", "fine"), Check("b", "failed", "x", "do y")),
                    "run on z")  # fmt: skip
    assert not report.ok
    assert dataclasses.asdict(report)["checks"][1]["remedy"] == "do y"
    text = report.text()
    assert "FAILED   b: x" in text and "-> do y" in text and "run on z" in text
    assert dataclasses.replace(report, checks=report.checks[:1]).ok


def test_the_short_form_covers_what_presets_use_and_no_more():
    few, all_of_them = (run.settings_for(torch.device("cuda"), every) for every in (False, True))
    assert all(setting in all_of_them for setting in few) and len(few) < len(all_of_them)
    # each compiles kernels of its own: ten seconds or so
    assert len(few) <= 4
    configs = [case.config for case, _, _ in few]
    assert any(c.second_moment and c.tail != "none" for c in configs)
    assert any(c.order == "Gilbert" for c in configs)
    assert {dtype for _, dtype, _ in few} == {torch.bfloat16, torch.float16}
    assert {dim for _, _, dim in few} == {64, 128}
