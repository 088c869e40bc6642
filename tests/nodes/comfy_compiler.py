"""A stand-in for the Comfy Compiler, which newer versions of ComfyUI have on GPUs.

It records the memory that a model's forward pass takes, a block at a time, as a pattern that has to
repeat from step to step, and leaves out what is taken inside `pause_malloc_graph()`. Written from
how ComfyUI 0.34 to 0.38.1 use theirs. It is strict where theirs breaks: a pause inside another one
would end that, and nothing that was recorded may outlive the forward pass.
"""

import contextlib
import gc
import sys
import threading
import types

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph(TorchDispatchMode):
    """What one forward pass has taken: for each part of it, [(operator, bytes)]."""

    def __init__(self):
        super().__init__()
        self.paused = False
        self._comfy_active = True
        self.parts = [[]]
        self.made = []
        self.known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {id_of(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if not isinstance(x, torch.Tensor) or id_of(x) in given:
                continue
            storage = x.untyped_storage()
            seen = self.known.get(id_of(x))
            if seen is not None and not seen.expired():
                continue
            self.known[id_of(x)] = weak = StorageWeakRef(storage)
            if not self.paused and storage.nbytes():
                self.parts[-1].append((str(func), storage.nbytes()))
                self.made.append((str(func), storage.nbytes(), weak))
        return out

    def alive(self):
        """What was recorded and is still there."""
        return [(name, size) for name, size, weak in self.made if not weak.expired()]


def id_of(x):
    return x.untyped_storage()._cdata


class ComfyCompiler:
    """patterns  of each forward pass that ended, in order, as `Graph.parts`
    kept      what outlived one
    """

    def __init__(self):
        self.patterns, self.kept = [], []
        self.active = {}
        self._ended = []

    # --- what ComfyUI has

    @contextlib.contextmanager
    def pause_malloc_graph(self, sync=False):
        self._pause(True)
        try:
            yield
        finally:
            self._pause(False)

    def _pause(self, paused):
        graph = self.active.get(threading.get_ident())
        if graph is not None and graph._comfy_active:
            assert graph.paused is not paused, "a pause inside of a pause"
            graph.paused = paused

    def malloc_graph_begin(self, device=None):
        self.look_for_kept()
        graph = self.active[threading.get_ident()] = Graph()
        graph.__enter__()

    def malloc_graph_end(self, broken=False):
        graph = self.active.pop(threading.get_ident())
        graph.__exit__(None, None, None)
        if not broken:
            self.patterns.append(graph.parts)
            self._ended.append(graph)

    def cleanup_malloc_graph(self):
        """After sampling: an interrupt ends no recording by itself."""
        if threading.get_ident() in self.active:
            self.malloc_graph_end(broken=True)

    # --- what it does to a model

    @contextlib.contextmanager
    def on(self, diffusion_model):
        """Its forward passes are recorded, as MiniMax-H3's are: the result is copied out."""

        def begin(module, args):
            self.malloc_graph_begin()

        def block(module, args):
            self.active[threading.get_ident()].parts.append([])

        def end(module, args, output):
            graph = self.active[threading.get_ident()]
            if output is None:  # an exception
                return self.malloc_graph_end(broken=True)
            with self.pause_malloc_graph():
                copies = copied(output)
            del output
            graph.parts.append([])
            self.malloc_graph_end()
            return copies

        hooks = [
            diffusion_model.register_forward_pre_hook(begin),
            diffusion_model.register_forward_hook(end, always_call=True),
        ]
        for blocks in diffusion_model.children():
            if isinstance(blocks, torch.nn.ModuleList):
                hooks += [one.register_forward_pre_hook(block) for one in blocks]
        try:
            yield self
        finally:
            for hook in hooks:
                hook.remove()

    # --- what a test asks

    def look_for_kept(self):
        ended, self._ended = self._ended, []
        if any(graph.alive() for graph in ended):
            gc.collect()  # cycles are no one's memory
        self.kept += [one for graph in ended for one in graph.alive()]

    def check(self, like=None, kept=()):
        """Every forward pass took what the first took (or `like`, a pattern), and only `kept`
        stayed."""
        self.look_for_kept()
        assert self.patterns, "nothing was recorded"
        assert any(self.patterns[0]), "nothing was taken"
        first = self.patterns[0] if like is None else like
        for number, pattern in enumerate(self.patterns):
            for part, (wanted, found) in enumerate(zip(first, pattern, strict=True)):
                assert found == wanted, f"forward pass {number}, part {part}: another pattern"
        assert self.kept == list(kept), "recorded memory outlives a forward pass"


def copied(output):
    if isinstance(output, torch.Tensor):
        return output.clone()
    return type(output)(copied(x) for x in output)


def install(monkeypatch):
    """A compiler where ComfyUI's functions are."""
    import comfy

    compiler = ComfyCompiler()
    try:
        import comfy.model_prefetch as module
    except ImportError:  # older versions have none
        module = types.ModuleType("comfy.model_prefetch")
        monkeypatch.setitem(sys.modules, "comfy.model_prefetch", module)
        monkeypatch.setattr(comfy, "model_prefetch", module, raising=False)
    monkeypatch.setattr(module, "MALLOC_GRAPHS", compiler.active, raising=False)
    for name in ("pause_malloc_graph", "malloc_graph_begin", "malloc_graph_end"):
        monkeypatch.setattr(module, name, getattr(compiler, name), raising=False)
    return compiler
