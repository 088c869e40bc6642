"""PSA in transformers: sparse layers of the language model in the prefill of a prompt with a video.

    from psa_engines.transformers import apply_psa, remove_psa

    applied = apply_psa(model, "Qwen2.5-VL/balanced")
    answer = model.generate(**inputs)
    print(applied.summary())
    remove_psa(model)

Importing it registers the attention "psa" with transformers; for a model without PSA that is the
same as "sdpa". Which models and versions are served, and how exactly: docs/engines.md.
"""

try:
    import transformers  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise ModuleNotFoundError(
        "psa_engines.transformers needs transformers, which is not installed. Fix: pip "
        "install transformers",
        name="transformers",
    ) from None

from .applied import Applied
from .apply import apply_psa, remove_psa

__all__ = ["Applied", "apply_psa", "remove_psa"]
