"""Whatever a body holds, its answer is little work: JSON and YAML have the same bounds."""

import json
import time

import pytest
import yaml

# Seconds of the processor that an answer may take, whatever else the machine does. The quickest of
# what is refused here took 3 once.
MOST_WORK = 2.0
SIZE = {"family": "Wan2.1_14b", "width": 832, "height": 480, "frames": 81}
PLAN = {"family": "Wan2.1_14b", "steps": 20}

WRONG = {
    "tail": 3, "mask_mode": "x", "importance": "y", "second_moment": "maybe", "rearrange_method": 1,
    "use_rearrange": [], "sim_thresholds": {"x2": "a", "x4": "b", "x8": "c"}, "tile_size": 4,
    "mask_ratios": {1: [0, 3], 2: "x", 3: 4},
}  # fmt: skip


def ranges(first, count):
    """A key of at most 128 characters that names many blocks, another one for each `first`."""
    return ",".join(f"{(first + i) % 5000}-{9999 - i}" for i in range(count))


CONFIGS = {
    "every block in every entry": {"blocks": {ranges(i, 12): "dense" for i in range(256)}},
    "blocks that follow each other": {"blocks": {f"{i * 39}-{i * 39 + 38}": {"warmup_steps": 1}
                                                 for i in range(256)}},
    "settings of blocks, all wrong": {"blocks": dict.fromkeys(range(256), WRONG)},
    "settings of blocks that clash": {"block_size": {"n": 32},
                                      "blocks": {i: {"tail": 128} for i in range(256)}},
    "settings of blocks that are right": {
        "blocks": {f"{i}-{i + 20}": {"tail": 32 + 32 * (i % 2), "sim_thresholds": {"x2": i / 9999}}
                   for i in range(0, 256 * 21, 21)}},
    "unknown settings": {"k" * 100 + str(i): 1 for i in range(256)},
    "unknown settings of blocks": {"blocks": {i: {f"tial{j}" * 8: 1 for j in range(50)}
                                              for i in range(256)}},
    "levels that there are not": {"mask_ratios": {str(i): [0, 1] for i in range(256)}},
    "all of it": {**WRONG, "blocks": dict.fromkeys(range(256), WRONG), "block_size": "x" * 5000},
    "ranges of steps over blocks": {
        "steps": {f"{i * 0.25:g}-{i * 0.25 + 0.25:g}%": {"tail": 32, "mask_mode": "topk"}
                  for i in range(256)},
        "blocks": {i - 1: {"mask_ratios": {1: [0, i / 999], 0: [i / 999, 1]}}
                   for i in range(1, 257)}},
    "ranges of steps that clash": {
        "steps": {f"{i}-{i + 1}%": {"tail": "none"} for i in range(40)},
        "blocks": {i: {"mask_ratios": {0: [0, 1]}} for i in range(40)}},
    "ranges of steps, all wrong": {"steps": {f"{i * 0.1:g}-{i + 1}%": {**WRONG, "blocks": {
        ranges(j, 12): WRONG for j in range(20)}} for i in range(40)}},
    "a long description": {"description": "word \u2028\x07é " * 20_000},
}  # fmt: skip


def work_of(app, path, body):
    """(seconds of the processor, status, answer)"""
    raw = json.dumps(body).encode()
    assert len(raw) <= 1024 * 1024
    start = time.process_time()
    status, answer, _ = app.ask("POST", path, raw=raw)
    return time.process_time() - start, status, answer


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("form", ["config", "yaml", "yaml_overrides"])
def test_a_preset(app, name, form):
    draft, asked = {"config": CONFIGS[name]}, [("/psa/validate", {})]
    if form == "config":  # the others read a draft as validate does
        asked += [("/psa/estimate", SIZE), ("/psa/plan", PLAN)]
    else:
        text = yaml.dump(CONFIGS[name], Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
                         default_flow_style=True, width=10**6, allow_unicode=True)  # fmt: skip
        draft = {"yaml": text} if form == "yaml" else {"widgets": {}, "yaml_overrides": text}
    for path, more in asked:
        seconds, status, answer = work_of(app, path, {**draft, **more})
        assert status in (200, 422), answer
        assert seconds < MOST_WORK
        if status == 422:
            assert answer["error"]["message"]


@pytest.mark.parametrize(
    "text",
    ["0-9999," * 2_000, "0-9999," * 9_000, "0-9999," * 140_000, "7," * 30_000, "," * 60_000,
     "1-" * 500_000, "9" * 1_000_000, ", ".join(map(str, range(10_000)))],
    ids=lambda text: f"{text[:7]} x {len(text)}",
)  # fmt: skip
def test_dense_blocks(app, text):
    body = {"config": {}, **SIZE, "dense_blocks": text}
    seconds, status, answer = work_of(app, "/psa/estimate", body)
    assert seconds < MOST_WORK
    # each block there can be, one by one, is read; what is longer than that is not
    assert status == (200 if len(text) <= 65_536 else 400), answer
    if status == 400:
        assert "dense_blocks: cannot read" in answer["error"]["message"]
        assert len(answer["error"]["message"]) < 300


@pytest.mark.parametrize("form", [{"config": {"tail": 32}}, {"widgets": {"tail": "32"}}])
def test_changes(app, form):
    for changes in (
        {f"blocks.{ranges(i, 12)}": WRONG for i in range(256)},
        {f"blocks.{i}.{path}": "x" for i in range(64)
         for path in ("tail", "mask_ratios", "importance", "sim_thresholds.x2")},
        {f"blocks.{i}-{i}.tail": 32 for i in range(256)},
    ):  # fmt: skip
        seconds, status, answer = work_of(app, "/psa/validate", {**form, "changes": changes})
        assert status in (200, 400) and seconds < MOST_WORK, answer


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({f"k{i}": i for i in range(257)}, "more than 256 entries in one place"),
        ({"tile_size": list(range(257))}, "more than 256 entries in one place"),
        ({"blocks": {str(i): dict.fromkeys(map(str, range(250)), 1) for i in range(250)}},
         "more than 30000 keys and values"),
        ({"blocks": {"0, " * 100 + "1": "dense"}}, "a key of more than 256 characters"),
        ({"tail": [[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}, "nested deeper than 16 levels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_more_than_a_preset_can_hold(app, config, words):
    _, status, answer = work_of(app, "/psa/validate", {"config": config})
    assert (status, answer["error"]["kind"]) == (400, "bad_request")
    message = answer["error"]["message"]
    assert message.startswith("the body ") and words in message


def test_more_ranges_over_blocks_than_can_be_looked_at(app):
    config = CONFIGS["ranges of steps over blocks"]
    _, status, answer = work_of(app, "/psa/validate", {"config": config})
    assert status == 200 and [x["message"] for x in answer["issues"]] == [
        "steps: found 256 ranges over 256 entries of blocks; at most 4096 pairs of an entry here "
        "and one of blocks"
    ]


def test_a_number_of_many_digits(app):
    for digits in (999, 5_000, 1_000_000):
        raw = b'{"config": {"tail": ' + b"9" * digits + b"}}"
        start = time.process_time()
        status, answer, _ = app.ask("POST", "/psa/validate", raw=raw)
        assert time.process_time() - start < MOST_WORK
        message = answer["issues"][0]["message"] if status == 200 else answer["error"]["message"]
        assert status == (200 if digits == 999 else 400) and "999" in message
        assert len(message) < 400
    assert message == "the number 99999999999999999999... has more than 1000 digits"
