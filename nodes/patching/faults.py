"""ComfyUI as a host of PSA: how its user stops a run, and how memory comes back after an error."""

from __future__ import annotations

import comfy.model_management

from ...psa_engines.core.host import Host

# Older versions of ComfyUI derive it from Exception, where `except Exception` would swallow it.
Interrupt = comfy.model_management.InterruptProcessingException


def _empty_cache() -> None:
    comfy.model_management.soft_empty_cache()


COMFYUI = Host((Interrupt,), _empty_cache, "PSA Self-test, a node,")
let_go = COMFYUI.let_go
