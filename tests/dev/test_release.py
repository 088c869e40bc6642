"""What is published, and the workflows of .github, which no test can run."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml

from psa_pack.tools import release

from ..pack_import import ROOT

WORKFLOWS = {path.stem: path for path in (ROOT / ".github" / "workflows").glob("*.yml")}
SECRET = "REGISTRY_ACCESS_TOKEN"
CHANGELOG = "# Changelog\n\n## [1.2.0] - {}\n\n### Added\n\n- More.\n\n## [1.1.0] - 2026-01-02\n"


@pytest.fixture
def checkout(tmp_path):
    """A committed pack of four files, one of them left out of the registry's package."""

    def write(date):
        (tmp_path / "CHANGELOG.md").write_text(CHANGELOG.format(date))
        git(tmp_path, "add", ".")
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        git(tmp_path, *who, "commit", "-qm", "x", "--allow-empty")
        return tmp_path

    git(tmp_path, "init", "-q")
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2.0"\n')
    (tmp_path / ".comfyignore").write_text("# large\n/models/\n")
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "large.bin").write_text("0" * 1000)
    return write


def git(folder, *command):
    subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


def test_a_complete_release_is_listed_and_its_notes_written(checkout, tmp_path_factory, capsys):
    root, notes = checkout("2026-12-01"), tmp_path_factory.mktemp("notes") / "notes.md"
    (root / "not added.txt").write_text("mine")
    assert release.main(["--tag", "v1.2.0", "--notes", str(notes)], root) == 0
    out = capsys.readouterr().out
    listed = [line.split(maxsplit=1)[1] for line in out.splitlines()[:-2]]
    assert listed == [".comfyignore", "CHANGELOG.md", "pyproject.toml"]
    assert "3 files" in out and out.endswith("version 1.2.0\n")
    assert notes.read_text() == "### Added\n\n- More.\n"


def test_what_is_missing_fails_a_tag_and_not_a_dry_run(checkout, capsys):
    root = checkout("unreleased")
    assert release.main(["--tag", "v1.1.0"], root) == 1
    err = capsys.readouterr().err
    assert "tag: found v1.1.0; pyproject.toml has version 1.2.0" in err
    assert "1.2.0 is unreleased. Fix: ## [1.2.0] - YYYY-MM-DD" in err
    (root / "pyproject.toml").write_text('[project]\nversion = "1.3.0"\n')
    assert release.main([], root) == 0
    out = capsys.readouterr().out
    assert "no section for 1.3.0. Fix:" in out and "1 files differ from the last commit" in out


def test_without_a_checkout_it_says_so(tmp_path, capsys):
    assert release.main([], tmp_path) == 2
    assert "is no git checkout" in capsys.readouterr().err


def test_the_changelog_begins_with_the_version_and_has_only_known_sections():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[(.+)\] - (unreleased|\d{4}-\d\d-\d\d)$", text, re.MULTILINE)
    assert first.group(1) == release.version(ROOT)
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


# --- workflows


def steps_of(name):
    """(job, step) of a workflow."""
    jobs = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))["jobs"]
    return [(job, step) for job in jobs.values() for step in job.get("steps", [])]


def commands():
    for name in WORKFLOWS:
        for _, step in steps_of(name):
            for line in step.get("run", "").splitlines():
                words = shlex.split(line)
                if words and words[0] == "python":
                    yield words


def test_there_are_tests_and_a_way_to_publish():
    assert set(WORKFLOWS) == {"tests", "publish"}
    # YAML reads `on` as true
    triggers = {name: yaml.safe_load(path.read_text())[True] for name, path in WORKFLOWS.items()}
    assert "pull_request" in triggers["tests"] and triggers["publish"]["push"] == {"tags": ["v*"]}
    run = {step.get("run") for _, step in steps_of("tests")}
    assert {"python dev.py test", "python dev.py demo"} <= run
    # the README's two
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"python3 dev.py {name}" in readme for name in ("test", "demo"))


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_command_exists(words):
    if words[1:3] == ["-m", "tools.release"]:
        release.parser().parse_args(words[3:])
        return
    if words[1:4] == ["-m", "pip", "install"]:
        assert all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in words[4:])
        return
    assert (ROOT / words[1]).is_file()
    shown = subprocess.run([sys.executable, *words[1:], "--help"], cwd=ROOT, capture_output=True)
    assert shown.returncode == 0, shown.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_what_a_workflow_uses_is_there_and_of_a_fixed_version(name):
    workflow = yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        used = [job["uses"]] if "uses" in job else []
        used += [step["uses"] for step in job.get("steps", []) if "uses" in step]
        for action in used:
            if action.startswith("./"):
                assert (ROOT / action).is_file()
            else:
                assert re.fullmatch(r"actions/[\w-]+@v\d+", action)
        needs = job.get("needs", [])
        needs = {needs} if isinstance(needs, str) else set(needs)
        assert needs <= set(workflow["jobs"])


def test_the_secret_is_seen_by_two_steps_and_published_with_by_one():
    seen = [step for _, step in steps_of("publish") if SECRET in str(step)]
    decide, publish = [step for step in seen if "env" in step]
    assert decide["id"] == "decide" and "node publish" in publish["run"]
    assert seen == [decide, publish]
    jobs = yaml.safe_load(WORKFLOWS["publish"].read_text(encoding="utf-8"))["jobs"]
    for job in ("tests", "registry"):
        assert jobs[job]["if"] == "needs.dry-run.outputs.publish == 'yes'"
    assert SECRET not in WORKFLOWS["tests"].read_text(encoding="utf-8")


@pytest.mark.parametrize("token, ref, published", [
    ("", "tag", False), ("secret", "branch", False), ("secret", "tag", True),
])  # fmt: skip
def test_without_the_secret_or_a_tag_nothing_is_published(token, ref, published, tmp_path):
    """The step that decides, as it is written."""
    (step,) = [step for _, step in steps_of("publish") if step.get("id") == "decide"]
    output = tmp_path / "output"
    output.touch()
    env = {"TOKEN": token, "GITHUB_REF_TYPE": ref, "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(["sh", "-e", "-c", step["run"]], env=env, capture_output=True, text=True)
    assert done.returncode == 0 and (output.read_text() == "publish=yes\n") == published
    assert ("nothing is published" in done.stdout) != published


def test_forms_for_issues_are_complete():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
    assert forms
    for path in forms:
        form = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert form["name"] and form["description"]
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        assert all(field["attributes"]["label"] for field in fields)
        assert any(field.get("validations", {}).get("required") for field in fields)
