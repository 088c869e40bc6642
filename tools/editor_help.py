"""Writes the table of settings into the help page of the preset editor, from the fields' own words.

    python -m tools.editor_help

A test compares the page with what this would write.
"""

from pathlib import Path

from psa_kernels.config import FIELDS, LEVELS, Field

PAGE = Path(__file__).resolve().parent.parent / "web" / "docs" / "PSAPresetEditor.md"
START = "<!-- settings, by tools/editor_help.py -->"
END = "<!-- end of settings -->"
HEAD = ("setting", "in a preset file", "default", "what it does")


def page(text: str) -> str:
    """`text` with a new table between the two marks."""
    before, _, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{PAGE.name} must hold the marks {START} and {END}")
    return f"{before}{START}\n{table()}\n{END}{after}"


def table() -> str:
    rows = [HEAD, ("---",) * len(HEAD), *map(row, FIELDS)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def row(field: Field) -> tuple[str, ...]:
    return tuple(
        cell.replace("|", "\\|")
        for cell in (
            f"**{field.label}**", f"`{field.path}`", default(field),
            f"{field.help} {allowed(field)}".strip(),
        )
    )  # fmt: skip


def default(field: Field) -> str:
    if field.kind == "mask_ratios":
        return ", ".join(f"{level}: {field.default[level][1]:g}" for level in LEVELS if level)
    if field.kind == "ints":
        return ", ".join(map(str, field.default))
    if field.kind == "bool":
        return "on" if field.default else "off"
    if field.kind == "choice":
        return "none" if field.default is None else str(field.default)
    empty = ("text", "block_overrides", "step_ranges")
    return "" if field.kind in empty else f"{field.default:g}"


def allowed(field: Field) -> str:
    """What the widget accepts, where the text before does not say it."""
    if field.kind == "choice":
        return "Choices: " + ", ".join(map(choice, field.choices)) + "."
    if field.kind in ("int", "float"):
        return f"From {field.low:g} to {field.high:g}."
    if field.kind == "ints":
        return f"One widget for each, from {field.low:g} to {field.high:g}."
    if field.kind == "mask_ratios":
        return "One widget for each level but 0: where it ends."
    if field.kind in ("block_overrides", "step_ranges"):
        return "No widget: in yaml_overrides."
    return ""


def choice(value: object) -> str:
    return "none (`null` in a file)" if value is None else str(value)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE} is up to date")
