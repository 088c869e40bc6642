"""PSA in transformers: the prefill of a prompt with a video, its language model's layers sparse.

    from psa_engines.transformers import apply_psa, remove_psa

    applied = apply_psa(model, "Qwen2.5-VL/balanced")
    answer = model.generate(**inputs)
    print(applied.summary())
    remove_psa(model)

Importing it registers the attention "psa" with transformers, which is its "sdpa" wherever nothing
was applied. What is served, by which version and how exactly: docs/engines.md.
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
