"""What a stranger reads: the field, what was found there, and what is allowed."""

import pytest

FAMILY = "Wan2.1_14b"
SIZE = {"config": {}, "family": FAMILY, "width": 832, "height": 480, "frames": 81}
PLAN = {"config": {}, "family": FAMILY, "steps": 20}
FORMS = "give exactly one of config, yaml, widgets, preset"
CASES = [
    ("validate", {}, f"a preset: found none of them; {FORMS}"),
    ("validate", {"config": {}, "yaml": ""}, f"a preset: found config and yaml; {FORMS}"),
    ("validate", {"config": []}, "config: found []; an object is expected"),
    ("validate", {"preset": "fast"}, 'preset: found "fast"; an object is expected'),
    ("validate", {"yaml": None}, "yaml: found null; text is expected"),
    ("validate", {"yaml": "", "yaml_overrides": ""},
     "yaml_overrides: found beside yaml; give it beside widgets only"),
    ("validate", {"preset": {"family": FAMILY, "preset": "fast", "x": 1}},
     "preset has unknown fields: 'x'"),
    ("validate", {"config": {}, "foo": 1}, "the body has unknown fields: 'foo'"),
    ("validate", {"config": {}, "yaml_overrides": ""},
     "yaml_overrides: found beside config; give it beside widgets only"),
    ("validate", {"widgets": {"blok_n": 64}},
     "widgets: there is no 'blok_n'; did you mean block_n?"),
    ("validate", {"widgets": {"?": 64}}, "widgets: there is no '?'"),
    ("validate", {"widgets": {}, "base": {"family": FAMILY}},
     "base.preset: is missing; give text"),
    ("validate", {"widgets": {}, "base": {"family": FAMILY, "preset": 5}},
     "base.preset: found 5; text is expected"),
    ("validate", {"config": {}, "changes": {"tial": 1}},
     "changes: there is no field 'tial'; did you mean tail?"),
    ("validate", {"config": {}, "changes": {"tile_size.0": 1}},
     "changes: there is no field 'tile_size.0'; did you mean tile_size?"),
    ("plan", {"config": {}}, "family: is missing; give text"),
    ("plan", PLAN | {"steps": 0}, "steps: found 0; allowed: a whole number from 1 to 1000"),
    ("plan", PLAN | {"steps": "20"}, 'steps: found "20"; a whole number is expected'),
    ("plan", PLAN | {"steps": 20.5}, "steps: found 20.5; a whole number is expected"),
    ("plan", PLAN | {"steps": True}, "steps: found true; a whole number is expected"),
    ("plan", PLAN | {"denoise": 0.001},
     "denoise: found 0.001; allowed: at least 0.02 for 20 steps"),
    ("plan", PLAN | {"denoise": 2}, "denoise: found 2.0; allowed: from 0 to 1"),
    ("plan", PLAN | {"shift": 0}, "shift: found 0; allowed: above 0 to 100"),
    ("plan", PLAN | {"schedule": "x" * 99},
     f'schedule: found "{"x" * 56}...; allowed: preset, percent'),
    ("estimate", SIZE | {"min_tokens": -1},
     "min_tokens: found -1; allowed: a whole number from 0 to 50000000"),
    ("estimate", SIZE | {"plan": {"steps": 3, "sparse": 5}},
     "plan.sparse: found 5; allowed: a whole number from 0 to 3"),
    ("estimate", SIZE | {"model": {"heads": 0}},
     "model.heads: found 0; allowed: a whole number from 1 to 1024"),
    ("estimate", SIZE | {"dense_blocks": ["a"]}, 'dense_blocks: found ["a"]; text is expected'),
    ("import", {"yaml": "a: 1", "replace": "yes"},
     'replace: found "yes"; true or false is expected'),
]  # fmt: skip


def bad_request(message):
    return {"kind": "bad_request", "message": message, "issues": []}


@pytest.mark.parametrize(("route", "body", "message"), CASES, ids=lambda x: str(x)[:60])
def test_a_wrong_field(app, route, body, message):
    status, answer, _ = app.ask("POST", f"/psa/{route}", body)
    assert (status, answer["error"]) == (400, bad_request(message))


def test_a_preset_that_is_not_there(app):
    named = {"preset": {"family": FAMILY, "preset": "fst"}}
    status, answer, _ = app.ask("POST", "/psa/validate", named)
    assert (status, answer["error"]["kind"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "the body is empty; a JSON object is expected"),
        (b"[1]", "the body is [1]; a JSON object is expected"),
        (b"null", "the body is null; a JSON object is expected"),
        (b'"\xff"', "the body is not UTF-8 text"),
        (b'{"yaml": "\\ud800"}', "the body has half of a surrogate pair, which is not a character"),
        (b"[" * 5000 + b"]" * 5000, "the body is nested deeper than 16 levels"),
        (b"{'a': 1}", "the body is not JSON: Expecting property name enclosed in double quotes: "
                      "line 1 column 2 (char 1)"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": 1, "a": 2}', "the key 'a' appears twice"),
    ],
    ids=lambda x: str(x)[:30],
)  # fmt: skip
def test_a_body_that_is_no_object(app, raw, message):
    status, answer, _ = app.ask("POST", "/psa/validate", raw=raw)
    assert (status, answer["error"]) == (400, bad_request(message))


@pytest.mark.parametrize(
    ("ends", "warning"),
    [
        ({"start_step": 20}, "start_step 20 leaves none of 20 steps to sample"),
        ({"end_step": 0}, "end_step 0 leaves none of 20 steps to sample"),
        ({"start_step": 10, "end_step": 5},
         "start_step 10 and end_step 5 leave none of 20 steps to sample"),
    ],
)  # fmt: skip
def test_a_part_of_a_run_without_steps(app, ends, warning):
    status, answer, _ = app.ask("POST", "/psa/plan", PLAN | ends)
    assert (status, answer["steps"], answer["warning"]) == (200, [], warning)
