"""What the checks find in implementations that are wrong somewhere."""

import dataclasses
import platform
import re
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from psa_kernels import reference
from psa_kernels.capability import Implementation, Limit, Precision
from psa_kernels.selftest import Check, Report, diagnosis, machine, run, served
from psa_kernels.selftest.agreement import TOLERANCE, agreement
from psa_kernels.selftest.cases import ALIKE, BASE, FEATURES, USUAL, make_call
from psa_kernels.triton import versions

from ..pack_import import ROOT
from ..registered import registered

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


# torch on Windows and Linux -> what is advised there
GOES_WITH = [
    ("2.7.0+cu126", "Linux", 'install "triton==3.3.0"'),
    ("2.7.1", "Linux", 'install "triton==3.3.1"'),
    ("2.9.1+cu130", "Windows", 'install "triton-windows==3.5.*"'),
    ("2.11.0", "Windows", 'install "triton-windows==3.6.*"'),
    ("2.14.0", "Linux", 'install "triton~=3.8.0"'),
    ("2.7.9", "Linux", 'install "triton==3.3.*"'),
    ("2.15.0", "Windows", 'install "triton-windows==3.9.*"; if there is none yet, use the torch b'),
    ("2.4.1", "Linux", "update torch to 2.7 or newer: https://pytorch.org, with its Triton"),
    ("2.6.0", "Windows", "update torch to 2.7 or newer: https://pytorch.org; then run the self-t"),
    ("2.99.0.dev20270101+cu140", "Windows", "install the triton-windows for torch 2.99: https"),
    ("2.99.0a0+git", "Linux", "install torch 2.99.0a0+git again (https://pytorch.org), with its"),
    ("strange", "Linux", "install torch strange again"),
]


@pytest.mark.parametrize(("version", "system", "advice"), GOES_WITH)
def test_advice_names_the_triton_that_goes_with_the_torch_that_is_there(
    no_triton, monkeypatch, version, system, advice
):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(torch.version, "hip", None)
    (check,) = run._triton(torch.device("cuda"))
    assert check.state == "failed" and advice in check.remedy
    others = (ImportError("undefined symbol"), RuntimeError("Cannot find ptxas"),
              diagnosis.TooOldError("Triton 3.0.0 is older than 3.3"))  # fmt: skip
    for error in others:
        remedy = diagnosis.diagnose(error).remedy
        assert advice.removeprefix("install ") in remedy
        # nothing but the right one is ever put in its place
        assert not re.search(r"install( --[\w-]+)* \"?triton(-windows)?\"?( |$)", remedy)
    if "-m pip" in check.remedy:
        assert sys.executable in check.remedy


def test_a_triton_of_another_torch_is_replaced_by_the_one_that_goes_with_it(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(torch, "__version__", "2.8.0")
    monkeypatch.setattr(torch.version, "hip", None)
    old = SimpleNamespace(__version__="3.2.0", language=None)
    monkeypatch.setitem(sys.modules, "triton", old)
    monkeypatch.setitem(sys.modules, "triton.language", SimpleNamespace())
    ran, check = run._attempt("Triton imports", run._import_triton)
    assert not ran
    assert check.detail == "Triton 3.2.0 is older than 3.3, the oldest that PSA supports"
    assert check.remedy.endswith('-m pip install "triton==3.4.0"')


def test_a_gpu_that_is_too_new_takes_a_newer_torch_not_a_triton_alone(monkeypatch):
    error = RuntimeError("ptxas fatal: Value 'sm_120' is not defined for option gpu-name")
    for system, more in (("Linux", "with its Triton"), ("Windows", "names the triton-win")):
        monkeypatch.setattr(platform, "system", lambda system=system: system)
        remedy = diagnosis.diagnose(error).remedy
        assert remedy.startswith("update torch to the newest: https://pytorch.org")
        assert more in remedy and "pip" not in remedy
    assert "too old for this GPU" in diagnosis.diagnose(error).what


def test_the_table_is_what_torch_asks_for():
    asked = machine.torchs_triton()
    if asked.startswith("triton"):  # of the torch that is here; a build without a GPU says it too
        assert asked == f"triton{versions.asked_by(torch.__version__)}"
    found = [versions.series(x) for x in versions.ASKED.values()]
    assert found == sorted(found, key=lambda x: [int(part) for part in x.split(".")])
    enough = {versions.series(t) for t, a in versions.ASKED.items()
              if not versions.older(a, versions.OLDEST)}  # fmt: skip
    assert min(enough, key=lambda x: int(x.split(".")[1])) == versions.OLDEST_TORCH


def test_every_place_says_the_same_versions():
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    oldest, torchs = re.escape(versions.OLDEST), re.escape(versions.OLDEST_TORCH)
    assert set(re.findall(r"torch ([\d.]+\d) or newer", readme)) == {versions.OLDEST_TORCH}
    assert set(re.findall(r"Triton ([\d.]+\d) or newer", readme)) == {versions.OLDEST}
    assert re.search(rf'"torch>={torchs}"', pyproject)
    assert re.search(rf'"triton>={oldest}"', pyproject)
    # the rule for Windows, from the table
    torches: dict[str, list[str]] = {}
    for version, asked in versions.ASKED.items():
        known = torches.setdefault(versions.series(asked), [])
        if versions.series(version) not in known:
            known.append(versions.series(version))
    rule = [f"{triton} for {' and '.join(theirs)}" for triton, theirs in torches.items()
            if not versions.older(triton, versions.OLDEST)
            and not versions.older(versions.NEWEST_ON_WINDOWS, triton)]  # fmt: skip
    assert ", ".join(rule).replace(" for ", " for torch ", 1) in readme
    assert 'pip install "triton-windows==3.5.*"' in readme
    assert "install triton-windows`" not in readme


def test_rocms_triton_is_had_from_where_its_torch_is(no_triton, monkeypatch):
    """PyPI's own `triton` would replace parts of the one that belongs to a torch for ROCm."""
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(torch.version, "hip", "6.4.43484-123eb5128")
    monkeypatch.setattr(torch, "__version__", "2.9.1+rocm6.4")
    asked = ["filelock", "pytorch-triton-rocm (==3.5.1) ; platform_system == 'Linux'"]
    monkeypatch.setattr(machine.metadata, "requires", lambda name: asked)
    (check,) = run._triton(torch.device("cuda"))
    assert 'install "pytorch-triton-rocm==3.5.1" --index-url' in check.remedy
    assert check.remedy.endswith("/whl/rocm6.4")
    broken = diagnosis.diagnose(ImportError("undefined symbol"))
    assert '--no-deps "pytorch-triton-rocm==3.5.1" --index-url' in broken.remedy
    # of a torch that does not say what it asks for, nothing is guessed
    monkeypatch.setattr(machine.metadata, "requires", lambda name: None)
    (check,) = run._triton(torch.device("cuda"))
    assert check.remedy.startswith("install torch 2.9.1+rocm6.4 again")
    monkeypatch.setattr(torch, "__version__", "2.5.1+rocm6.2")
    (check,) = run._triton(torch.device("cuda"))
    assert check.remedy.startswith("update torch to 2.7 or newer")


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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "Apple" in machine.describe()["GPU"]


def test_what_each_precision_computes_here_is_said():
    slower = Limit("faster here", lambda call: "half", one_of=("int8",), reason="half is faster")
    wide = Limit("head dim", lambda call: call.layout.head_dim, least=17, reason="too short")
    int8 = Precision("qk", "int8", "half", (wide,), (slower,))
    with registered(Implementation("toy", reference, precisions=(int8,))):
        said = served.served_here(CPU)
        assert "toy, qk auto: faster here: int8" in served.rows()
    assert said.startswith(
        "toy: calls of 128 channels in bfloat16, qk int8 computes int8, "
        "qk auto computes half (half is faster); triton: none, the tensors are on cpu"
    )


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
    (tmp_path / "Python.h").touch()
    found = diagnosis.diagnose(error)
    assert "the C compiler failed on Triton's launcher" in found.what
    assert "cuda_utils.c" in found.what
    (tmp_path / "Python.h").unlink()
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
        (ImportError("DLL load failed while importing libtriton"), "Visual C++ runtime is missing"),
        (ValueError("something never seen"), "something never seen"),
    ],
)
def test_errors_are_put_into_words(error, words):
    found = diagnosis.diagnose(error)
    assert words in found.what and found.remedy
    assert ("vc_redist.x64.exe" in found.remedy) == ("Visual C++" in words)


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
