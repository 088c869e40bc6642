"""An implementation that is asked for the time of a test."""

from contextlib import contextmanager

from psa_kernels.implementations import TRITON, register, unregister


@contextmanager
def registered(implementation):
    """Before all others; in Triton's place if it has its name."""
    register(implementation)
    try:
        yield
    finally:
        unregister(implementation.name)
        if implementation.name == TRITON.name:
            register(TRITON)
