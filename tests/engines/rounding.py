"""How far half precision takes a result from that of float32, and PSA's result with it."""


def distance(out, exact):
    """How far `out` is from `exact`, as a share of the length of `exact`."""
    exact = exact.double()
    return float((out.double() - exact).norm() / exact.norm())


def check_rounding(out, dense, exact, times=1.5):
    """`out` is no further from float32's result than half precision takes dense attention."""
    rounding = distance(dense, exact)
    assert 0 < rounding < 0.1, f"dense attention itself is {rounding:.3g} from float32"
    assert distance(out, exact) < times * rounding, (distance(out, exact), rounding)
