"""What a release holds: its version, its notes and the files that ComfyUI's registry gets.

    python -m tools.release                   a dry run: lists the files, says what is missing
    python -m tools.release --tag v0.1.0      fails if something is missing for that tag
    python -m tools.release --notes FILE      also writes the version's part of CHANGELOG.md

Nothing is sent anywhere. .github/workflows/publish.yml publishes.
"""

import argparse
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NotARepository(Exception):  # noqa: N818
    pass


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m tools.release", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("--tag", help="the tag to publish, such as v0.1.0")
    found.add_argument("--notes", type=Path, metavar="FILE", help="write the version's notes there")
    return found


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    args = parser().parse_args(argv)
    try:
        files = packed_files(root)
    except NotARepository as error:
        print(error, file=sys.stderr)
        return 2
    for path in files:
        print(f"{(root / path).stat().st_size:>9,}  {path}")
    found, missing = version(root), problems(root, args.tag)
    print(f"{summary(root, files)}\nversion {found}")
    if args.notes and (part := notes(root, found)):
        args.notes.write_text(part[1] + "\n", encoding="utf-8")
    for problem in missing:
        print(f"not ready: {problem}", file=sys.stderr if args.tag else sys.stdout)
    return 1 if args.tag and missing else 0


def version(root: Path) -> str:
    """That of pyproject.toml."""
    text = (root / "pyproject.toml").read_text(encoding="utf-8")
    return re.search(r'^version = "(.+)"$', text, re.MULTILINE).group(1)


def notes(root: Path, of: str) -> tuple[str, str] | None:
    """(date, text) of a version in CHANGELOG.md, None where it is not there."""
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    parts = re.split(r"^## \[(.+)\] - (.+)$", text, flags=re.MULTILINE)[1:]
    for name, date, part in zip(*(parts[i::3] for i in range(3)), strict=True):
        if name == of:
            return date.strip(), part.strip()
    return None


def packed_files(root: Path) -> list[str]:
    """What comfy-cli packs: files that git tracks, without those that .comfyignore names."""
    tracked = _git(root, "ls-files", "--cached")
    ignore = root / ".comfyignore"
    left_out = (
        _git(root, "ls-files", "--cached", "--ignored", f"--exclude-from={ignore}")
        if ignore.is_file() else []
    )  # fmt: skip
    return [path for path in tracked if path not in set(left_out) and (root / path).is_file()]


def problems(root: Path, tag: str | None) -> list[str]:
    """Why this is no release yet, each with what fixes it."""
    found, wrong = version(root), []
    if tag and tag != f"v{found}":
        wrong.append(f"tag: found {tag}; pyproject.toml has version {found}. Fix: one of them")
    part = notes(root, found)
    if part is None:
        wrong.append(f"CHANGELOG.md has no section for {found}. Fix: ## [{found}] - DATE")
    elif not re.fullmatch(r"\d{4}-\d\d-\d\d", part[0]):
        wrong.append(f"CHANGELOG.md: {found} is {part[0]}. Fix: ## [{found}] - YYYY-MM-DD")
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no"):
        wrong.append(f"{len(changed)} files differ from the last commit. Fix: commit them")
    return wrong


def summary(root: Path, files: list[str]) -> str:
    sizes: Counter[str] = Counter()
    for path in files:
        sizes[path.split("/")[0] if "/" in path else "."] += (root / path).stat().st_size
    parts = ", ".join(f"{name} {size / 1e3:,.0f}" for name, size in sizes.most_common())
    return f"{len(files)} files, {sizes.total() / 1e6:.1f} MB; in kB: {parts}"


def _git(root: Path, *command: str) -> list[str]:
    try:
        done = subprocess.run(["git", *command, "-z"], cwd=root, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NotARepository("git is not installed, which tells what is packed") from error
    if done.returncode:
        raise NotARepository(f"{root} is no git checkout: {done.stderr.strip()}")
    return [line for line in done.stdout.split("\0") if line]


if __name__ == "__main__":
    sys.exit(main())
