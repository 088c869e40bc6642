"""The former settings of our presets, of which times were measured."""

from functools import cache

import yaml

from psa_kernels import PSAConfig

from ..pack_import import ROOT

PAGE = ROOT / "docs" / "former-presets.md"


@cache
def former() -> dict[str, PSAConfig]:
    """Name of today's preset -> its former settings, as the page has them."""
    text = PAGE.read_text(encoding="utf-8").split("```yaml\n")[1].split("```")[0]
    (family,) = yaml.safe_load(text).values()
    return {
        name.removeprefix("former_"): PSAConfig.from_preset(config)
        for name, config in family["attention_configs"].items()
    }
