"""PSA in diffusers: the video self-attention of a pipeline's transformers, served sparse.

    from psa_engines.diffusers import apply_psa, remove_psa

    applied = apply_psa(pipeline, "Wan2.1_14b/balanced")
    video = pipeline(prompt, num_inference_steps=50).frames
    print(applied.summary())
    remove_psa(pipeline)

diffusers is not imported: its models are recognised by the names of their classes. Which models
and versions are served, and how exactly: docs/engines.md.
"""

from .applied import Applied
from .apply import apply_psa, remove_psa

__all__ = ["Applied", "apply_psa", "remove_psa"]
