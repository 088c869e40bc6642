"""ComfyUI's own step caches: a step they skip has no attention, and PSA counts none."""

import pytest

from ..sampling import Spy
from .beside import check_beside, covers, in_both_orders

pytestmark = covers("EasyCache, LazyCache")

STEPS = 8
BLOCKS = 2


def caching(kind, threshold):
    def node(model):
        from comfy_extras import nodes_easycache

        return getattr(nodes_easycache, f"{kind}Node").execute(model, threshold, 0.0, 1.0, False)[0]

    return node


def model_calls(bench, model, **sampling):
    """How often the model itself was run."""
    spy = Spy()
    bench.sample(spy.on(model), **sampling)
    return len(spy.calls) // (2 * BLOCKS)


@in_both_orders
@pytest.mark.parametrize(
    ("kind", "text_tokens"),
    # the two conditions of guidance in one call, or in a call each
    [("EasyCache", (16, 16)), ("EasyCache", (16, 17)), ("LazyCache", (16, 16))],
)
def test_a_step_cache(bench, kind, order, text_tokens):
    node = caching(kind, 3.0)
    sampling = {"steps": STEPS, "text_tokens": text_tokens}
    calls = model_calls(bench, node(bench.model), **sampling)
    whole = model_calls(bench, bench.model, **sampling)
    assert 0 < calls < whole
    check_beside(bench, node, order, sparse=calls * BLOCKS, **sampling)
