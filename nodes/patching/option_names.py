"""Names in a model's transformer options and attention calls, ComfyUI's and PSA's own."""

# ComfyUI's: the function that is asked to serve attention calls
OVERRIDE = "optimized_attention_override"
# ComfyUI's: the attention that a layer prefers; also a variable of its wrapper around attention
PREFERRED = "preferred_attention"
# the run that a model call belongs to
RUN = "psa_run"
# in compiled models: the override that serves this model call
CALL = "psa_call"
