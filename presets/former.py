"""Shipped presets that have other settings than they had under the same name."""

NAMES = ("fast", "balanced", "faithful", "lora_4step")
PAGE = "docs/former-presets.md"


def notice(preset: str) -> str:
    """What a user of such a preset should know."""
    return (
        f"the preset {preset} has new settings, chosen on a better trained model; its former "
        f"settings are in {PAGE}"
    )
