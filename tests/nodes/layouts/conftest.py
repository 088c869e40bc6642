import pytest

from .. import zoo


@pytest.fixture
def bench(comfy_inproc, one_thread):
    """Samples with whatever model it is given."""
    comfy_inproc.load_pack()  # and so ComfyUI's own nodes, in the order they can be loaded in
    return zoo.ZooBench()
