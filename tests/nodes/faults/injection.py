"""Faults to put into PSA while it runs: where, at which call, and of which kind."""

import collections
import contextlib
import importlib
import random
from dataclasses import dataclass

import torch

PATCHING = "psa_pack.nodes.patching"
RECORDING = "psa_pack.nodes.recording"
CORE = "psa_engines.core"


@dataclass(frozen=True)
class Place:
    """A function of PSA's, by the module or class that it is looked up in.

    tells   whether a fault there makes PSA step aside; the others cost a figure or a line of text
    gives   "tensor" where it returns one (alone or first), which a fault can spoil
    stops   whether the user's interrupt can come while it runs
    """

    module: str
    name: str
    tells: bool = True
    gives: str = ""
    stops: bool = False

    def __str__(self):
        return f"{self.module.rpartition('.')[2]}.{self.name}"

    def owner(self):
        owner = importlib.import_module(self.module)
        *classes, function = self.name.split(".")
        for part in classes:
            owner = getattr(owner, part)
        return owner, function


REFERENCE = "psa_kernels.reference"
PLACES = (
    Place(REFERENCE, "reorder", stops=True),
    Place(REFERENCE, "build_pyramid", stops=True),
    Place(REFERENCE, "importance", gives="tensor", stops=True),
    Place(REFERENCE, "assign_levels", stops=True),
    Place(REFERENCE, "attend", gives="tensor", stops=True),
    Place("psa_kernels.attention", "Stats"),
    Place("psa_kernels.order_state", "OrderState.centroids"),
    Place("psa_kernels.order_state", "OrderState.keep"),
    Place(f"{CORE}.deciding", "psa_attention", gives="tensor", stops=True),
    Place(f"{CORE}.run", "Run.order_state"),
    Place(f"{PATCHING}.attention_call", "AttentionCall.read"),
    Place(f"{PATCHING}.attention_call", "AttentionCall.unsupported"),
    Place(f"{PATCHING}.attention_call", "AttentionCall.split_heads"),
    Place(f"{PATCHING}.attention_call", "AttentionCall.join_heads", stops=True),
    Place(f"{PATCHING}.attention_call", "AttentionCall.block_index"),
    Place(f"{PATCHING}.attention_call", "AttentionCall.grid_sizes"),
    Place(f"{CORE}.current_step", "CurrentStep.of_call"),
    Place(f"{PATCHING}.around_call", "_key"),
    Place(f"{PATCHING}.around_call", "_by_name"),
    Place(f"{PATCHING}.around_call", "contradictions"),
    # an unreadable layout is no error of PSA's: the model stays dense for that reason
    Place(f"{PATCHING}.around_call", "token_grid", tells=False, stops=True),
    Place(f"{PATCHING}.around_run", "plan_run", tells=False, stops=True),
    Place(f"{PATCHING}.around_run", "announce", tells=False),
    Place(f"{PATCHING}.around_run", "summary_line", tells=False),
    Place(f"{CORE}.run", "figures", tells=False),
    Place(f"{RECORDING}.dense_call", "DenseCall.of", tells=False),
    Place(f"{CORE}.recording.recorder", "Recorder._cell"),
    Place(f"{CORE}.recording.tallies", "Tallies.count", tells=False),
    Place(f"{CORE}.recording.tallies", "Tallies.read", tells=False),
    Place(f"{CORE}.recording.call_times", "CallTimes.read", tells=False),
    Place(f"{CORE}.recording.clocks", "WallClock.mark", tells=False),
    Place(f"{CORE}.recording.live", "LatestDensity.read", tells=False),
    Place(f"{RECORDING}.run_log", "RunLog.add", tells=False),
    Place(__name__, "Told.report", tells=False),
    Place(__name__, "Told.progress", tells=False),
)
# asked in compiled models only, from inside the operator of an attention call
COMPILED = (
    Place(f"{PATCHING}.traced_call", "TracedCall.options"),
    Place(f"{PATCHING}.compiled_call", "_options_at_hand"),
    Place(f"{PATCHING}.compiled_call", "_as_promised", stops=True),
)
PLANNING = ("plan_run", "announce")
REPORTING = ("summary_line", "figures", "RunLog.add", "Told.report")


class Told:
    """What the node would send to the page."""

    def __init__(self):
        self.reports = []

    def report(self, report):
        self.reports.append(report)

    def progress(self, message):
        pass


def interrupts():
    import comfy.model_management

    return comfy.model_management.InterruptProcessingException, KeyboardInterrupt


ERRORS = (
    RuntimeError, torch.OutOfMemoryError, MemoryError, TypeError, KeyError, ValueError,
    AttributeError, AssertionError, StopIteration, RecursionError, OSError,
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """kind: a class of exceptions, a number for a tensor, or "shape", "dtype"; call: from 1."""

    place: Place
    call: int
    kind: object
    # an exception that comes when the work is done, not before
    late: bool = False

    @property
    def certain(self):
        """Makes PSA step aside, unless the render is stopped before."""
        # an estimate that is wrong in some entry may choose as well as any; what cannot be noted
        # down costs a figure where the call was dense anyway
        unsure = self.place.name == "importance" and not isinstance(self.kind, type)
        return self.place.tells and not unsure and self.place.name != "Recorder._cell"

    @property
    def text(self):
        """What the report's failure says."""
        if isinstance(self.kind, type):
            return self.kind.__name__
        if self.place.name == "importance":
            return "Error: "
        return "PSA's output is" if isinstance(self.kind, str) else "NaN or Inf in the output"

    def __str__(self):
        kind = self.kind.__name__ if isinstance(self.kind, type) else self.kind
        return f"{kind} in {self.place}, call {self.call}{' (late)' if self.late else ''}"


def random_fault(rng: random.Random, places: tuple[Place, ...] = PLACES) -> Fault:
    place = rng.choice(places)
    kinds = [rng.choice(ERRORS)]
    if place.gives:
        kinds += [rng.choice([float("nan"), float("inf"), float("-inf")]), "shape", "dtype"]
    if place.stops:
        kinds.append(rng.choice(interrupts()))
    # what is called once a run has no tenth call
    call = rng.choice([1, 1, 1, 2, 3, rng.randint(2, 20)])
    pure = not place.name.startswith(("Recorder.", "Tallies.", "CallTimes."))
    kind = rng.choice(kinds)
    late = pure and isinstance(kind, type) and rng.random() < 0.3
    return Fault(place, call, kind, late)


@contextlib.contextmanager
def injected(faults):
    """The faults that have come to pass, as a list that fills while the context lasts."""
    fired, counts = [], collections.Counter()

    def wrap(place, real):
        due = {fault.call: fault for fault in faults if fault.place == place}

        def function(*args, **kwargs):
            counts[place] += 1
            fault = due.get(counts[place])
            if fault is None:
                return real(*args, **kwargs)
            fired.append(fault)
            if isinstance(fault.kind, type):
                if fault.late:
                    real(*args, **kwargs)
                raise fault.kind("injected")
            return spoiled(real(*args, **kwargs), fault.kind)

        return function

    with contextlib.ExitStack() as stack:
        for place in {fault.place for fault in faults}:
            owner, name = place.owner()
            held = vars(owner)[name]
            by_class = isinstance(held, classmethod)
            replaced = wrap(place, held.__func__ if by_class else held)
            setattr(owner, name, classmethod(replaced) if by_class else replaced)
            stack.callback(setattr, owner, name, held)
        yield fired


def spoiled(result, kind):
    first = result[0] if isinstance(result, tuple) else result
    if kind == "shape":
        first = first[..., :-1, :]
    elif kind == "dtype":
        first = first.double()
    else:
        first = first.clone()
        first.view(-1)[-7] = kind
    return (first, *result[1:]) if isinstance(result, tuple) else first
