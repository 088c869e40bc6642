"""Whatever lies in a user's folder: it is read, or reported by name and line, and harms nothing."""

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from psa_presets import (
    ABSENT,
    SHIPPED_DIR,
    InvalidPresetError,
    NotFoundError,
    PresetError,
    PresetStore,
    StorageError,
)  # fmt: skip

from .figures import FAMILIES, SHIPPED, single_file
from .folders import CUSTOM, MINE, snapshot, write


def test_the_authors_single_file_in_the_users_folder(store, user_dir):
    write(user_dir, "attention_config.yaml", single_file())
    listing = store.list()
    # the same presets, but for words and verbosity; the default is ours
    assert [p.what for p in listing.problems] == [
        f"default_attention of the family {family} stays balanced" for family in FAMILIES
    ]
    assert {f.name for f in listing.families} == set(SHIPPED)
    assert store.get("Wan2.1_14b").verbose is False
    alone = PresetStore(user_dir, user_dir / "none")
    assert alone.list().problems == ()
    assert alone.get("Wan2.1_1.3b", "psa_topk").verbose is True


def test_hand_placed_collisions_are_reported_by_file_and_line(store, user_dir):
    shipped = store.get("Wan2.1_14b", "fast")
    write(user_dir, "mine.yaml", (
        "Wan2.1_14b:\n"
        "  text_length: 77\n"
        "  attention_configs:\n"
        "    fast: {tail: 16}\n"
        "    FAITHFUL: {tail: 16}\n"
        "    mine: {tail: 16}\n"
        "wan2.1_14B:\n"
        "  default_attention: x\n"
        "  video_scale: {width_divisor: 1, height_divisor: 1, depth_divisor: 1}\n"
        "  text_length: 0\n"
        "  attention_configs: {x: {}}\n"
    ))  # fmt: skip
    write(user_dir, "more.yaml", "Wan2.1_14b:\n  attention_configs:\n    mine: {tail: 8}\n")
    found = [(p.file, p.line, p.family, p.preset) for p in store.list().problems]
    assert found == [
        ("mine.yaml", 2, "Wan2.1_14b", ""),
        ("mine.yaml", 4, "Wan2.1_14b", "fast"),
        ("mine.yaml", 5, "Wan2.1_14b", "FAITHFUL"),
        ("mine.yaml", 7, "wan2.1_14B", ""),
        ("more.yaml", 3, "Wan2.1_14b", "mine"),
    ]
    assert "taken by the shipped preset fast" in str(store.list().problems[1])
    assert "user preset mine of Wan2.1_14b in mine.yaml" in str(store.list().problems[4])
    assert store.get("Wan2.1_14b", "fast") == shipped
    assert store.get("Wan2.1_14b", "mine").tail == 16
    assert store.get_family("Wan2.1_14b").text_length == 0


def test_broken_files_harm_nothing_else(store, user_dir):
    write(user_dir, "a.yaml", "Wan2.1_14b:\n  attention_configs:\n   x: [\n")
    write(user_dir, "b.yaml", b"\xff\xfe\x00")
    write(user_dir, "c.yaml", "")
    write(user_dir, "d.yaml", CUSTOM.replace("tail: 32", "tail: 33"))
    write(user_dir, "e.yaml", CUSTOM.replace("Hunyuan", "Broken").replace("256", "-256"))
    write(user_dir, ".hidden.yaml", "[")
    write(user_dir, "notes.txt", "[")
    (user_dir / "folder.yaml").mkdir()
    (user_dir / "link.yaml").symlink_to("/etc/hostname")
    (user_dir / "dangling.yaml").symlink_to("nowhere")
    if hasattr(os, "mkfifo"):
        os.mkfifo(user_dir / "pipe.yaml")
    found = {(p.file, p.line) for p in store.list().problems}
    assert found >= {
        ("a.yaml", 4), ("b.yaml", 1), ("c.yaml", None), ("d.yaml", 7), ("e.yaml", 4),
        ("folder.yaml", None), ("link.yaml", None), ("dangling.yaml", None),
    }  # fmt: skip
    assert not {file for file, _ in found} & {".hidden.yaml", "notes.txt"}
    assert {f.name for f in store.list().families} == {*SHIPPED, "Hunyuan"}
    assert store.get("Hunyuan", "calm").type == "dense"
    with pytest.raises(InvalidPresetError, match=r"d.yaml, line 7: .*other.tail: found 33"):
        store.get("Hunyuan", "other")
    with pytest.raises(InvalidPresetError, match=r"e\.yaml, line 4"):
        store.get("Broken")
    with pytest.raises(NotFoundError, match=r"(?s)no family 'Lost'.*a.yaml, line"):
        store.get("Lost")


def test_saving_beside_a_broken_preset_keeps_it(store, user_dir):
    write(
        user_dir,
        "Wan2.1_14b.yaml",
        "Wan2.1_14b:\n  attention_configs:\n    bad: {tail: 33, note: keep me}\n",
    )
    store.save("Wan2.1_14b", "mine", MINE)
    text = (user_dir / "Wan2.1_14b.yaml").read_text("utf-8")
    assert "keep me" in text
    [problem, _] = store.list().problems
    assert problem.preset == "bad"
    # and it can be mended or removed by name
    version = store.version("Wan2.1_14b", "bad")
    assert version != ABSENT
    store.save("Wan2.1_14b", "bad", MINE, expected=version)
    assert store.list().problems == ()
    write(user_dir, "x.yaml", "Wan2.1_14b:\n  attention_configs:\n    worse: 5\n")
    store.delete("Wan2.1_14b", "worse")
    assert not (user_dir / "x.yaml").exists()
    assert store.get("Wan2.1_14b", "mine") == MINE


def test_odd_numbers_outlive_the_saving_of_a_neighbour(store, user_dir):
    """Written as they were: in quotes, a key 010 would become block 10."""
    odd = "{warmup_steps: 010, blocks: {010: dense, 1:20: dense}, tile_size: [1_0, 8, 8]}"
    for comment in ("", "# mine\n"):
        write(user_dir, "Wan2.1_14b.yaml", (
            f"{comment}Wan2.1_14b:\n  attention_configs:\n"
            f"    odd: {odd}\n    other: {{tail: 16}}\n"
        ))  # fmt: skip
        before = [str(problem).partition(": ")[2] for problem in store.list().problems]
        assert len(before) == 4 and all("line" not in problem for problem in before)
        assert store.get("Wan2.1_14b", "other").tail == 16
        store.save("Wan2.1_14b", "mine", MINE)
        assert [str(problem).partition(": ")[2] for problem in store.list().problems] == before
        text = (user_dir / "Wan2.1_14b.yaml").read_text("utf-8")
        for number in ("warmup_steps: 010", " 010: dense", " 1:20: dense", "[1_0, 8, 8]"):
            assert number.strip() in text


@pytest.mark.parametrize("text", ["[", "Wan2.1_14b: 5\n", "Wan2.1_14b: {attention_configs: 5}\n"])
def test_an_unreadable_file_is_not_written_over(store, user_dir, text):
    write(user_dir, "wan2.1_14B.yaml", text)
    before = snapshot(user_dir)
    with pytest.raises(StorageError, match=r"wan2.1_14B|Wan2.1_14b"):
        store.save("Wan2.1_14b", "mine", MINE)
    assert {**snapshot(user_dir), ".presets.lock": b""} == {**before, ".presets.lock": b""}


def test_links_are_not_written_through(store, user_dir, tmp_path):
    outside = tmp_path / "outside.yaml"
    outside.write_text(CUSTOM)
    user_dir.mkdir(parents=True)
    (user_dir / "other.yaml").symlink_to(outside)
    with pytest.raises(NotFoundError, match=r"other.yaml: it is a link"):
        store.save("Hunyuan", "mine", MINE)
    (user_dir / "Wan2.1_14b.yaml").symlink_to(outside)
    with pytest.raises(StorageError, match=r"Wan2.1_14b.yaml"):
        store.save("Wan2.1_14b", "mine", MINE)
    (user_dir / "Wan2.1_14b.yaml").unlink()
    (user_dir / ".presets.lock").unlink()
    (user_dir / ".presets.lock").symlink_to(tmp_path / "lock-outside")
    with pytest.raises(StorageError):
        store.save("Wan2.1_14b", "mine", MINE)
    assert outside.read_text() == CUSTOM
    assert not (tmp_path / "lock-outside").exists()


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "psa").write_text("")
    store = PresetStore(SHIPPED_DIR, tmp_path / "psa")
    assert len(store.list().families) == len(SHIPPED)
    assert "cannot be read" in str(store.list().problems[0])
    with pytest.raises(StorageError, match="cannot be written"):
        store.save("Wan2.1_14b", "mine", MINE)


def test_what_could_not_be_read_again_is_not_written(store, user_dir):
    for config in (
        MINE.replace(description="x" * 300_000),
        MINE.replace(description="half \ud800"),
    ):
        with pytest.raises(StorageError, match="could not be read again"):
            store.save("Wan2.1_14b", "mine", config)
    assert not list(user_dir.glob("*.yaml"))


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, len(CUSTOM)), st.integers(0, 9), st.text(max_size=4)).map(
        lambda t: (CUSTOM[: t[0]] + t[2] + CUSTOM[t[0] + t[1] :]).encode("utf-8", "replace")
    )
)
def test_any_file_leaves_the_shipped_ones_working(store, user_dir, content):
    write(user_dir, "x.yaml", content)
    listing = store.list()
    assert {f.name for f in listing.families} >= set(SHIPPED)
    assert all(p.file == "x.yaml" and str(p) and p.to_json() for p in listing.problems)
    try:
        store.save("Wan2.1_14b", "mine", MINE)
        assert store.get("Wan2.1_14b", "mine") == MINE
    except PresetError as error:
        assert str(error)
    for path in user_dir.glob("Wan*"):
        path.unlink()
