"""The pack's own link type."""

from comfy_api.latest import io

# Carries a `PresetValue`.
PSAPreset = io.Custom("PSA_PRESET")
