import pytest

from .. import zoo


@pytest.fixture
def bench(comfy_inproc, one_thread):
    """Samples with whatever model it is given."""
    return zoo.ZooBench()
