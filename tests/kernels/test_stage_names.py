"""A stage must not share its name with a module: importing the module would hide the stage."""

import pkgutil

import pytest

from psa_kernels import reference, triton

STAGES = ("reorder", "group_keys", "build_pyramid", "importance", "assign_levels", "attend")


@pytest.mark.parametrize("package", [reference, triton], ids=["reference", "triton"])
def test_no_module_is_called_like_a_stage(package):
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert modules and not modules & set(STAGES)
    assert set(package.__all__) == {*STAGES, "head_groups"}
