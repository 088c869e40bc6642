"""The pages: links lead somewhere, paths exist, examples load, README_zh.md keeps up."""

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from psa_kernels import PSAConfig
from psa_presets import SHIPPED_DIR, PresetStore

from ..pack_import import ROOT

PAGES = sorted(
    page for pattern in ("*.md", "docs/**/*.md", "web/docs/*.md", "benchmarks/**/*.md",
                         "examples/**/*.md", "tools/**/*.md")
    for page in ROOT.glob(pattern)
)  # fmt: skip
ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README_zh.md"
FOR_DEVELOPERS = (ROOT / "CONTRIBUTING.md", ROOT / "docs" / "architecture.md")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^    .*\n)+", re.MULTILINE)
LINK = re.compile(r'\]\(([^)\s]+)\)|<img src="([^"]+)"')


def name(page):
    return page.relative_to(ROOT).as_posix()


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose(page):
    """The page without its code blocks."""
    return INDENTED.sub("", FENCE.sub("", text(page)))


def headings(page):
    return re.findall(r"^(#+) (.+)$", prose(page), re.MULTILINE)


def anchors(page):
    """As GitHub makes them of headings."""
    plain = [re.sub(r"[^\w\- ]", "", title.lower()) for _, title in headings(page)]
    return {title.strip().replace(" ", "-") for title in plain}


def links(page):
    return [a or b for a, b in LINK.findall(re.sub(r"`[^`\n]*`", "", prose(page)))]


def inside(page):
    """(target, anchor) of the links that stay in the repository."""
    for link in links(page):
        if not re.match(r"[a-z]+:", link):
            path, _, anchor = link.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target, anchor in inside(page):
        assert target.exists(), f"{name(page)} -> {target}"
        if anchor:
            assert anchor in anchors(target), f"{name(page)} -> {name(target)}#{anchor}"


def test_every_page_is_reached_from_the_readme():
    seen, ahead = set(), [ENGLISH]
    while ahead:
        page = ahead.pop()
        if page.suffix == ".md" and page not in seen:
            seen.add(page)
            ahead += [target for target, _ in inside(page)]
    assert {p for p in PAGES if p.parent in (ROOT / "docs", ROOT / "web" / "docs")} <= seen


@pytest.mark.parametrize("page", [ENGLISH, CHINESE], ids=name)
def test_a_readme_is_short_and_names_two_commands(page):
    assert len(text(page).splitlines()) <= 150
    commands = re.findall(r"^python3 dev\.py \w+", text(page), re.MULTILINE)
    assert commands == ["python3 dev.py demo", "python3 dev.py test"]
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


# --- README_zh.md says what README.md says


def sections(page):
    """The numbers in each section, in no order: Chinese sentences put them elsewhere."""
    parts = re.split(r"^#+ .*$", prose(page), flags=re.MULTILINE)
    return [Counter(re.findall(r"\d+(?:[.,]\d+)*", part)) for part in parts]


def rows(page):
    """The figures of every row of every table, cell by cell."""
    return [
        [re.findall(r"\d+(?:\.\d+)?%?", cell) for cell in line.split("|")[1:-1]]
        for line in text(page).splitlines() if line.startswith("|")
    ]  # fmt: skip


def code(page):
    """The code blocks, without the comments."""
    found = FENCE.findall(text(page)) + INDENTED.findall(FENCE.sub("", text(page)))
    return [re.sub(r" *# .*", "", block) for block in found]


def test_the_chinese_readme_has_the_same_parts():
    assert [mark for mark, _ in headings(CHINESE)] == [mark for mark, _ in headings(ENGLISH)]
    assert code(CHINESE) == code(ENGLISH) and len(code(ENGLISH)) >= 3
    assert rows(CHINESE) == rows(ENGLISH) and len(rows(ENGLISH)) > 20
    to_chinese, *english = links(ENGLISH)
    to_english, *chinese = links(CHINESE)
    assert (to_chinese, to_english) == ("README_zh.md", "README.md")
    assert sorted(chinese) == sorted(english)


def test_the_chinese_readme_has_the_same_figures():
    for english, chinese in zip(sections(ENGLISH), sections(CHINESE), strict=True):
        assert chinese == english


# --- what the pages name


@pytest.mark.parametrize("page", FOR_DEVELOPERS, ids=name)
def test_paths_exist(page):
    named = re.findall(r"(?<!\[)`([\w./-]+)`", prose(page))
    paths = [x for x in named if "/" in x or Path(x).suffix in (".md", ".toml", ".yaml")]
    missing = [x for x in paths if not x.startswith(".dev") and not (ROOT / x).exists()]
    assert len(paths) >= 3 and not missing


def test_every_folder_of_the_code_is_on_the_map():
    """docs/architecture.md: top-level packages, and what lies in `nodes`."""
    (tree,) = FENCE.findall(text(FOR_DEVELOPERS[1]))
    on_map = set(re.findall(r"(\w+)/", tree))
    packages = {p.parent for p in ROOT.glob("nodes/*/*.py")}
    packages |= {p.parent for p in ROOT.glob("*/__init__.py")}
    assert {p.name for p in packages} - on_map == set()


def test_the_examples_of_the_presets_page_load(tmp_path):
    fenced = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
    whole, *parts = fenced.findall(text(ROOT / "docs" / "presets.md"))
    (tmp_path / "mine.yaml").write_text(whole, encoding="utf-8")
    preset = PresetStore(SHIPPED_DIR, tmp_path).get("Wan2.1_1.3b", "mine")
    assert len(parts) == 2
    for part in parts:
        changes = yaml.safe_load(part)
        changed = PSAConfig.from_preset({**preset.to_preset(), **changes})
        assert changed.to_preset() != preset.to_preset()


@pytest.mark.parametrize("preset", ["balanced", "faithful", "fast", "lora_4step"])
def test_the_table_of_presets_says_what_they_are(preset, tmp_path):
    page = text(ROOT / "docs" / "presets.md")
    (row,) = re.findall(rf"^\| `{preset}` \|.*$", page, re.MULTILINE)
    said = PresetStore(SHIPPED_DIR, tmp_path).get("Wan2.1_14b", preset).description
    densities = re.search(r"densities of ([\d., and]+)", said)[1]
    shares = ", ".join(f"{float(x):.0%}" for x in re.findall(r"0\.\d+", densities))
    over_run = re.search(r"(0\.\d+) of dense attention over", said)[1]
    assert f"| {shares} | {over_run} " in row
    for dense in re.findall(r"(\d+%) of the steps dense", said):
        assert f"| {dense} " in row
