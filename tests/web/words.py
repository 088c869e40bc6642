"""The page's own words, from the file that its scripts read."""

import json
import re

from ..pack_import import ROOT

FOLDER = ROOT / "web" / "locales"


def say(key, locale="en", **values):
    """What t(key, values) of web/i18n.js gives."""
    texts = json.loads((FOLDER / f"{locale}.json").read_text(encoding="utf-8"))
    return re.sub(r"\{(\w+)\}", lambda m: str(values.get(m[1], m[0])), texts[key])
