"""Preset files as people write them by hand: what loads goes on loading, to the same values."""

import pytest

from psa_kernels.config import PSAConfig
from psa_presets import PresetError

from .file_variants import VARIANTS, Loads
from .folders import write


@pytest.mark.parametrize("name", VARIANTS)
def test_a_file_in_the_users_folder(store, user_dir, name):
    content, outcome = VARIANTS[name]
    write(user_dir, "mine.yaml", content)
    problems = store.list().problems
    assert {problem.file for problem in problems} <= {"mine.yaml"}
    if isinstance(outcome, Loads):
        assert store.get(*outcome.preset) == PSAConfig(**outcome.values)
        assert [p.what for p in problems if not any(w in str(p) for w in outcome.problems)] == []
        assert [w for w in outcome.problems if not any(w in str(p) for p in problems)] == []
        return
    with pytest.raises(PresetError):
        store.get("Mine", "p")
    assert problems[0].line == outcome.line, str(problems[0])
    for words in outcome.words:
        assert words in str(problems[0])
