"""A user's comments outlive what the store does to the file; where they cannot, a copy is kept."""

import difflib
import logging
import re
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psa_kernels.config import PSAConfig
from psa_presets import SHIPPED_DIR, PresetError, PresetStore
from psa_presets.yaml_text import parse

from .file_variants import VARIANTS, Loads
from .folders import MINE, write

FILE = """\
# my presets
Wan2.1_14b:   # the large one
  # nothing else is needed here
  attention_configs:

    # about the first
    first:
      tail: 16   # a fine tail
      use_rearrange: yes   # as it is
      mask_ratios:
        1: [0.0, 0.4]   # level 1
        0: [0.4, 1]     # the rest
      warmup_steps: 0x4
    # about the second
    second: {tail: 8}   # small

    # about the third
    third:
      description: |
        one  # no comment
        two
      broken: 5   # what the store cannot read
# the end
"""
# a comment between braces that get another entry
BRACES = '{"Wan2.1_14b": {"attention_configs": {\n  # mine\n  "a": {"tail": 8}\n}}}\n'


def changed_lines(before, after):
    found = difflib.unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    return [line for line in found if not re.match(r"---|\+\+\+|@@", line)]


def kept(file):
    """The copies of this file: their names and texts."""
    return {path.name: path.read_text("utf-8") for path in file.parent.glob(f"{file.name}*.bak")}


@pytest.fixture
def file(user_dir):
    write(user_dir, "Wan2.1_14b.yaml", FILE)
    return user_dir / "Wan2.1_14b.yaml"


def test_a_new_preset_is_added_below(store, file):
    store.save("Wan2.1_14b", "fourth", MINE)
    lines = changed_lines(FILE, file.read_text("utf-8"))
    assert lines[0] == "+    fourth:" and all(line.startswith("+") for line in lines)
    assert file.read_text("utf-8").endswith("# the end\n")
    assert store.get("Wan2.1_14b", "fourth") == MINE
    assert store.lost_comments("Wan2.1_14b", "fifth") == ()
    names = sorted(path.name for path in file.parent.iterdir())
    assert names == [".presets.lock", "Wan2.1_14b.yaml"]


def test_only_what_changed_is_written(store, file):
    config = store.get("Wan2.1_14b", "first")
    ratios = {1: (0, 0.3), 0: (0.3, 1)}
    store.save("Wan2.1_14b", "first", config.replace(tail=32, mask_ratios=ratios))
    lines = changed_lines(FILE, file.read_text("utf-8"))
    assert [line for line in lines if line.startswith("-")] == [
        "-      tail: 16   # a fine tail",
        "-        1: [0.0, 0.4]   # level 1",
        "-        0: [0.4, 1]     # the rest",
    ]
    assert lines[1] == "+      tail: 32   # a fine tail"
    assert "+        1: [0.0, 0.3]   # level 1" in lines
    assert "+        0: [0.3, 1]     # the rest" in lines
    # settings that the file left at their default are written from now on, as in any save
    assert "+      warmup_steps: 4" not in lines and "+      tile_size: [2, 8, 8]" in lines
    text = file.read_text("utf-8")
    store.save("Wan2.1_14b", "first", store.get("Wan2.1_14b", "first"))
    assert file.read_text("utf-8") == text


def test_one_in_a_line_becomes_a_block(store, file):
    store.save("Wan2.1_14b", "second", MINE)
    text = file.read_text("utf-8")
    assert store.get("Wan2.1_14b", "second") == MINE
    assert text.count("#") == FILE.count("#") and "    second:\n      type: psa\n" in text
    assert "verbose: false   # small\n\n    # about the third\n" in text


def test_a_broken_one_is_mended(store, file):
    store.save("Wan2.1_14b", "third", MINE)
    assert store.list().problems == () and store.get("Wan2.1_14b", "third") == MINE
    for comment in ("# about the third", "# the end", "# small"):
        assert comment in file.read_text("utf-8")


def test_deleting_takes_the_lines_of_the_preset(store, file, caplog):
    """Its comments are kept in a copy."""
    store.delete("Wan2.1_14b", "second")
    assert changed_lines(FILE, file.read_text("utf-8")) == ["-    second: {tail: 8}   # small"]
    assert kept(file) == {"Wan2.1_14b.yaml.bak": FILE}
    assert "kept as Wan2.1_14b.yaml.bak" in caplog.text
    store.delete("Wan2.1_14b", "first")
    assert "# about the third\n    third:" in file.read_text("utf-8")
    # the last one takes the file along, of which a copy is kept
    last = file.read_text("utf-8")
    store.delete("Wan2.1_14b", "third")
    assert not file.exists()
    assert last.endswith("# the end\n") and last in kept(file).values()
    assert store.list().problems == ()


@pytest.mark.parametrize("was, gone", [
    ("blocks:\n        # these two flicker\n        0-1: dense", "# these two flicker"),
    ("blocks: {0-1: dense}  # both", "# both"),
    ("blocks:  # both\n        0-1: dense", "# both"),
    ("mask_ratios:\n        1: [0.0, 0.4]\n        4: [0.4, 1]  # measured on 3 clips",
     "# measured on 3 clips"),
])  # fmt: skip
def test_comments_in_what_goes_are_kept_in_a_copy(store, user_dir, caplog, was, gone):
    """The rest of the file stays as it is."""
    text = FILE.replace("# about the second", f"# none\n    more:\n      {was}\n    # two")
    write(user_dir, "Wan2.1_14b.yaml", text)
    config = store.get("Wan2.1_14b", "more")
    # what stays as it is loses nothing
    assert store.lost_comments("Wan2.1_14b", "more") == ()
    store.save("Wan2.1_14b", "more", config.replace(tail=32))
    file = user_dir / "Wan2.1_14b.yaml"
    text = file.read_text("utf-8")
    assert gone in text and kept(file) == {} and caplog.text == ""
    store.save("Wan2.1_14b", "more", config.replace(blocks={}, mask_ratios={1: (0.0, 1.0)}))
    assert "Wan2.1_14b.yaml: some of its comments are lost; the file as it was is" in caplog.text
    assert kept(file) == {"Wan2.1_14b.yaml.bak": text}
    left = file.read_text("utf-8")
    assert gone not in left and left.count("#") == text.count("#") - 1


def test_deleting_a_preset_without_comments_keeps_none(store, file, caplog):
    store.save("Wan2.1_14b", "fourth", MINE)
    store.delete("Wan2.1_14b", "fourth")
    assert file.read_text("utf-8") == FILE and kept(file) == {} and caplog.text == ""


def test_a_comment_behind_the_sign_of_a_text_counts(store, user_dir):
    text = "Wan2.1_14b:\n  attention_configs:\n    a:\n      description: |  # in two lines\n"
    text += "        one\n        two\n"
    write(user_dir, "Wan2.1_14b.yaml", text)
    store.save("Wan2.1_14b", "a", MINE)
    assert kept(user_dir / "Wan2.1_14b.yaml") == {"Wan2.1_14b.yaml.bak": text}


def test_renaming_changes_a_word(store, file):
    store.rename("Wan2.1_14b", "first", "newer one")
    assert changed_lines(FILE, file.read_text("utf-8")) == ["-    first:", "+    newer one:"]


def test_importing_changes_nothing_else(store, file):
    text = "Wan2.1_14b:\n  attention_configs:\n    second: {tail: 16}\n    more: {tail: 8}\n"
    imported = store.import_text(text, replace=True)
    assert len(imported.saved) == 2 and imported.notes == ()
    assert file.read_text("utf-8").count("#") == FILE.count("#")
    assert store.get("Wan2.1_14b", "more").tail == 8


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"])
def test_line_ends_and_a_mark_stay(store, user_dir, newline, mark, end):
    text = FILE.split("\n    # about the third")[0].rstrip() + end
    write(user_dir, "Wan2.1_14b.yaml", mark + text.replace("\n", newline).encode())
    store.save("Wan2.1_14b", "fourth", MINE)
    content = (user_dir / "Wan2.1_14b.yaml").read_bytes()
    assert content.startswith(mark + b"# my presets" + newline.encode())
    rest = content.decode("utf-8-sig").replace(newline, "")
    assert "\n" not in rest and "\r" not in rest
    assert store.get("Wan2.1_14b", "fourth") == MINE
    assert content.decode("utf-8-sig").count("#") == text.count("#")


def test_where_it_cannot_be_done_a_copy_is_kept(store, user_dir, caplog):
    """A file that is one JSON mapping, with a comment in it."""
    text = BRACES
    write(user_dir, "Wan2.1_14b.yaml", text)
    [note] = store.lost_comments("Wan2.1_14b", "b")  # said before the first time
    assert "its comments are lost" in note.what and "Wan2.1_14b.yaml.bak" in note.what
    assert (user_dir / "Wan2.1_14b.yaml").read_text() == text
    with caplog.at_level(logging.WARNING):
        store.save("Wan2.1_14b", "b", MINE)
    assert str(note) in caplog.text
    assert (user_dir / "Wan2.1_14b.yaml.bak").read_text() == text
    assert store.list().problems == ()  # the copy is no preset file
    assert store.lost_comments("Wan2.1_14b", "b") == ()  # none are left
    # someone writes comments again: the first copy is not written over
    other = text.replace("mine", "mine again")
    write(user_dir, "Wan2.1_14b.yaml", other)
    store.import_text("Wan2.1_14b: {attention_configs: {c: {tail: 16}}}")
    assert (user_dir / "Wan2.1_14b.yaml.bak").read_text() == text
    assert (user_dir / "Wan2.1_14b.yaml.2.bak").read_text() == other
    # an equal copy is copy enough
    write(user_dir, "Wan2.1_14b.yaml", text)
    store.save("Wan2.1_14b", "b", MINE)
    assert not (user_dir / "Wan2.1_14b.yaml.3.bak").exists()


def test_a_failed_write_leaves_no_copy(store, user_dir, monkeypatch):
    write(user_dir, "Wan2.1_14b.yaml", BRACES)
    files = sys.modules["psa_pack.presets.files"]
    real = files._replace

    def fails(source, target):
        if target.name == "Wan2.1_14b.yaml":
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(files, "_replace", fails)
    with pytest.raises(PresetError, match="could not be written"):
        store.save("Wan2.1_14b", "b", MINE)
    names = {path.name for path in user_dir.iterdir()} - {".presets.lock"}
    assert names == {"Wan2.1_14b.yaml"}


LOADING = [name for name, (_, outcome) in VARIANTS.items()
           if isinstance(outcome, Loads) and outcome.preset == ("Mine", "p")]  # fmt: skip


@pytest.mark.parametrize("name", LOADING)
def test_every_file_that_loads_can_be_changed_in_place(tmp_path, name):
    """With a comment put into it, it keeps that or a copy; its preset and the new one are there."""
    content, outcome = VARIANTS[name]
    if not content.endswith((b"...\n", b"```", b"```\n")):
        content += b"\n# mine\n"
    folder = tmp_path / "user"
    write(folder, "mine.yaml", content)
    store = PresetStore(SHIPPED_DIR, folder)
    before, said = store.get("Mine", "p"), [problem.what for problem in store.list().problems]
    assert before == PSAConfig(**outcome.values)
    store.save("Mine", "new", MINE)
    store.save("Mine", "p", before.replace(verbose=True))
    store.rename("Mine", "new", "newer")
    assert store.get("Mine", "p") == before.replace(verbose=True)
    assert store.get("Mine", "newer") == MINE
    if b"# mine" in content:
        assert [path for path in folder.iterdir() if b"# mine" in path.read_bytes()]
    store.delete("Mine", "newer")
    assert store.get("Mine", "p") == before.replace(verbose=True)
    assert [problem.what for problem in store.list().problems] == said


COMMENTED = st.sampled_from(["  # c", "", "", "\n# c", "\n      # c", "   #"])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_comments_anywhere(tmp_path_factory, data):
    """Random comments, random steps: the presets are right, and every comment is still in the file
    or, where its preset went, in a copy."""
    lines = [line + (data.draw(COMMENTED) if "one" not in line and "two" not in line
                     and "|" not in line else "") for line in FILE.splitlines()]  # fmt: skip
    lines = [re.sub(r"#(?: c)?$", f"# c{i}.", line) for i, line in enumerate(lines)]
    text = "\n".join(lines) + "\n"
    folder = tmp_path_factory.mktemp("user")
    write(folder, "Wan2.1_14b.yaml", text)
    store = PresetStore(SHIPPED_DIR, folder)
    wanted = {"first": store.get("Wan2.1_14b", "first"), "second": PSAConfig(tail=8)}
    for _ in range(data.draw(st.integers(1, 4))):
        step = data.draw(st.sampled_from(["save", "change", "rename", "delete"]))
        name = data.draw(st.sampled_from(sorted(wanted) or ["first"]))
        if step == "save":
            wanted["new"] = MINE.replace(warmup_steps=data.draw(st.integers(0, 9)))
            store.save("Wan2.1_14b", "new", wanted["new"])
        elif name not in wanted:
            continue
        elif step == "change":
            wanted[name] = wanted[name].replace(tail=data.draw(st.sampled_from(["none", 16])))
            store.save("Wan2.1_14b", name, wanted[name])
        elif step == "rename" and "other" not in wanted:
            store.rename("Wan2.1_14b", name, "other")
            wanted["other"] = wanted.pop(name)
        elif step == "delete":
            store.delete("Wan2.1_14b", name)
            del wanted[name]
    for name, config in wanted.items():
        assert store.get("Wan2.1_14b", name) == config
    after = (folder / "Wan2.1_14b.yaml").read_bytes()
    assert after.startswith(b"# my presets") and b"# the end" in after
    assert b"# about the third" in after and b"# about the second" in after
    assert "broken" in parse(after).data["Wan2.1_14b"]["attention_configs"]["third"]
    written = set(re.findall("# c[0-9]+[.]", text))
    copies = "".join(kept(folder / "Wan2.1_14b.yaml").values())
    lost = {comment for comment in written if comment.encode() not in after}
    assert all(comment in copies for comment in lost)
    assert bool(copies) == (after.count(b"#") < text.count("#"))
