"""Generated requests: good ones, good ones with something wrong in them, and noise.

    for request in requests(seed, count):
        request.method, request.path, request.headers, request.raw

Deterministic. Most are near enough to a good request to get past the first check.
"""

import copy
import json
import random
import urllib.parse
from dataclasses import dataclass, field

import yaml

from ...bad_presets import GOOD, bad_presets

FAMILIES = ("Wan2.1_1.3b", "CogVideo_5b", "Wan2.1_14b")
BAD_NAMES = (
    "", " ", ".", "..", "../x", "../../x", "..%2f..%2fx", "a/b", "a\\b", "/etc/passwd", "C:\\x",
    "CON", "nul.yaml", "x" * 65, "x" * 3000, "é", "日本", "a\x00b", "a\nb", "\ud800", "%2e%2e",
    "default", "DEFAULT", "fast", "FAST", "baseline", "-rf", "~", "$HOME", "{x}", "a:b", ".hidden",
    "x.", "x ", "__proto__", "constructor", "\u202e", "\uff10",
)  # fmt: skip
GOOD_NAMES = ("mine", "Mine", "night 2", "a.b", "x_y-z", "late night", "m")
NUMBERS = (0, -1, 1, 1.5, -0.0, 1e308, -1e308, 5e-324, 2**31, 2**63, 2**64, 10**40, 10**400, 0.1)
JUNK = (None, True, False, "", "x", [], {}, [[]], [1, 2], {"a": 1}, {"1": [0, 1]}, *NUMBERS)
BOMBS = (
    "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "a: &a {b: *a}\n",
    "[" * 3000,
    "{a: " * 3000,
    "a: " + "[" * 40 + "]" * 40,
    "- " * 2000 + "x",
    "x: 1\n" * 3,
    "".join(f"k{i}: {i}\n" for i in range(400)),
    "x: " + "9" * 5000,
    "x: 1e" + "9" * 50,
    "!!python/object/apply:os.system ['true']",
    "tail: !!binary aGVsbG8=",
    "<<: {tail: 32}\n",
    "tail: 32\n---\ntail: 16\n",
    "%YAML 9.9\n---\ntail: 32\n",
    "tail: 2020-01-01",
    "\x00", "\ufeff", "\ud800", "tail: \x07", "? [a]\n: b", "a: b: c", "\t- x", "'", '"\\x',
    "a: |\n x", "#" * 300_000, "", " ", "null", "~", "1", "[]", "{}", "---", "...", "1: 2",
    "true: 1", "x" * 900_000,
)  # fmt: skip
ORIGINS = ("null", "http://evil.example", "https://evil.example:88", "http://127.0.0.1:1", "x", "")
BAD = bad_presets(120)


@dataclass
class Request:
    method: str
    path: str
    raw: bytes
    headers: dict = field(default_factory=dict)


def requests(seed, count):
    rng = random.Random(seed)
    for _ in range(count):
        yield _request(rng)


def _request(rng):
    make = rng.choice(_MAKERS)
    method, path, body = make(rng)
    headers = {}
    roll = rng.random()
    if method != "GET" and roll < 0.5:
        body = _mutated(rng, body)
    raw = _written(rng, body) if method != "GET" else b""
    if rng.random() < 0.04:
        headers["Content-Type"] = rng.choice(
            ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16",
             "multipart/form-data", "application/JSON", "application/jsonx", "*/*")
        )  # fmt: skip
    if rng.random() < 0.02:  # which the body is not; aiohttp refuses others before our routes
        headers["Content-Encoding"] = rng.choice(("gzip", "deflate", "x"))
        headers["Connection"] = "close"  # aiohttp closes it, and the next request is another's
    if rng.random() < 0.04:
        headers["Origin"] = rng.choice(ORIGINS)
    if rng.random() < 0.03:
        headers["Sec-Fetch-Site"] = rng.choice(("cross-site", "same-site", "none", "x"))
    return Request(method, path, raw, headers)


def _written(rng, body):
    try:
        text = json.dumps(body, ensure_ascii=rng.random() < 0.8)
        raw = text.encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        raw = b"{}"
    roll = rng.random()
    if roll < 0.02:  # torn
        raw = raw[: rng.randrange(len(raw) + 1)]
    elif roll < 0.04:
        raw = bytes(rng.randrange(256) for _ in range(rng.randrange(60)))
    elif roll < 0.05:
        raw = b'{"expected": null, ' + raw[1:]
    elif roll < 0.06:
        raw = raw.replace(b"null", rng.choice((b"NaN", b"Infinity", b"1e999", b"-0", b"01")))
    elif roll < 0.065:
        raw = b"[" * rng.choice((100, 5000)) + raw
    elif roll < 0.067:
        raw = raw[:-1] + b" " * 1_100_000 + b"}"
    return raw


def _mutated(rng, body):
    """Somewhere in the body, something else."""
    body = copy.deepcopy(body)
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(body))
        if not places or rng.random() < 0.08:
            body[rng.choice(("x", "expected", "path", "file", "", "base", "family", "changes"))] = (
                _junk(rng)
            )
            continue
        holder, key = rng.choice(places)
        if rng.random() < 0.2:
            del holder[key]
        else:
            holder[key] = _junk(rng)
    return body


def _places(value):
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, (dict, list)):
            yield from _places(inner)


def _junk(rng):
    roll = rng.random()
    if roll < 0.5:
        return copy.deepcopy(rng.choice(JUNK))
    if roll < 0.7:
        return rng.choice(BAD_NAMES)
    if roll < 0.85:
        return rng.choice(BOMBS)
    value = rng.choice((1, "x", None))
    for _ in range(rng.choice((3, 14, 20, 200))):
        value = [value] if rng.random() < 0.5 else {"a": value}
    return value


def _name(rng):
    return rng.choice(GOOD_NAMES) if rng.random() < 0.8 else rng.choice(BAD_NAMES)


def _family(rng):
    return rng.choice(FAMILIES) if rng.random() < 0.9 else _name(rng)


def _mapping(rng):
    roll = rng.random()
    if roll < 0.2:
        return json.loads(json.dumps(rng.choice(BAD).preset, allow_nan=True, default=str))
    preset = copy.deepcopy(GOOD)
    preset["warmup_steps"] = rng.randrange(30)
    for key in rng.sample(list(preset), rng.randrange(6)):
        del preset[key]
    return json.loads(json.dumps(preset))


def _yaml(rng):
    if rng.random() < 0.25:
        return rng.choice(BOMBS)
    text = yaml.safe_dump(_plain(_mapping(rng)), sort_keys=False, allow_unicode=True)
    if rng.random() < 0.15:
        place = rng.randrange(len(text) + 1)
        mark = rng.choice((":", "\t", "{", "&a ", "*a", "\n", "-", "!", "'"))
        text = text[:place] + mark + text[place:]
    return text


def _plain(preset):
    return {str(k): v for k, v in preset.items()}


def _widgets(rng):
    good = {
        "block_n": rng.choice(("32", "64", "128")), "tail": rng.choice(("none", "32", 64)),
        "level_1_to": rng.choice((0.0, 0.1, 0.5, 1.0)), "level_8_to": rng.choice((0.2, 0.5)),
        "use_sim_mask": rng.random() < 0.5, "tile_depth": rng.randrange(4), "warmup_steps": 3,
    }  # fmt: skip
    return {key: good[key] for key in rng.sample(list(good), rng.randrange(len(good)))}


def _draft(rng):
    form = rng.choice(("config", "yaml", "widgets", "preset"))
    if form == "config":
        return {"config": _mapping(rng)}
    if form == "yaml":
        return {"yaml": _yaml(rng)}
    if form == "preset":
        return {"preset": {"family": _family(rng), "preset": rng.choice(("fast", "default", "x"))}}
    body = {"widgets": _widgets(rng), "yaml_overrides": _yaml(rng) if rng.random() < 0.4 else ""}
    if rng.random() < 0.4:
        body["base"] = {"family": _family(rng), "preset": "faithful"}
    return body


def _changes(rng):
    some = {
        "use_sim_mask": True, "mask_ratios.4": [0.2, 0.3], "block_size.n": 64, "tail": 8,
        "mask_ratios": {"1": [0, 1]}, "tile_size": [1, 1, 1], "tile_size.0": 1, "a.b.c": 1,
        "sim_thresholds.x2": 0.5, "mask_ratios.x": 1, "": 1, "rearrange_method": None,
    }  # fmt: skip
    return {key: some[key] for key in rng.sample(list(some), rng.randrange(3))}


def _place(rng):
    quote = urllib.parse.quote
    names = [quote(_family(rng), safe="", errors="surrogatepass"),
             quote(_name(rng), safe="", errors="surrogatepass")]  # fmt: skip
    return "/psa/presets/" + "/".join(names)


def _expected(rng):
    return rng.choice((None, None, "absent", "0" * 16, "x"))


def _validate(rng):
    return "POST", "/psa/validate", {**_draft(rng), "changes": _changes(rng)}


def _put(rng):
    return "PUT", _place(rng), {**_draft(rng), "expected": _expected(rng)}


def _duplicate(rng):
    body = {"to": _name(rng)}
    if rng.random() < 0.3:
        body["family"] = _family(rng)
    return "POST", _place(rng) + "/duplicate", body


def _rename(rng):
    return "POST", _place(rng) + "/rename", {"to": _name(rng), "expected": _expected(rng)}


def _delete(rng):
    return "DELETE", _place(rng), {"expected": _expected(rng)}


def _import(rng):
    roll = rng.random()
    if roll < 0.3:
        return "POST", "/psa/import", {"yaml": _yaml(rng)}
    if roll < 0.5:
        body = {"yaml": _yaml(rng), "family": _family(rng), "preset": _name(rng)}
        return "POST", "/psa/import", body
    section = {"attention_configs": {_name(rng): _mapping(rng), _name(rng): _mapping(rng)}}
    if rng.random() < 0.5:
        section |= {
            "default_attention": _name(rng), "text_length": rng.choice((0, 226, -1)),
            "video_scale": {"width_divisor": 8, "height_divisor": 8, "depth_divisor": 4},
        }  # fmt: skip
    try:
        text = yaml.safe_dump({_family(rng): section}, allow_unicode=True, sort_keys=False)
    except (yaml.YAMLError, UnicodeEncodeError):
        text = ""
    return "POST", "/psa/import", {"yaml": text, "replace": rng.random() < 0.5}


def _estimate(rng):
    size = rng.choice(((832, 480, 81), (1280, 720, 81), (16, 16, 1), (16384, 16384, 10000)))
    body = {**_draft(rng), "family": _family(rng),
            **dict(zip(("width", "height", "frames"), size, strict=True))}  # fmt: skip
    if rng.random() < 0.2:
        body["model"] = {"heads": 12, "head_dim": rng.choice((64, 96, 128))}
    return "POST", "/psa/estimate", body


def _plan(rng):
    some = {
        "scheduler": rng.choice(("simple", "karras", "beta", "kl_optimal", "ddim_uniform", "x")),
        "sampler": rng.choice(("euler", "dpm_2", "uni_pc")), "denoise": rng.choice((0.0, 0.3, 1)),
        "start_step": rng.choice((0, 2, 50)), "end_step": rng.choice((None, 0, 3)),
        "shift": rng.choice((None, 0.0, 5, 100)), "schedule": rng.choice(("preset", "percent")),
        "start_percent": 0.3, "end_percent": rng.choice((0.1, 0.9)),
    }  # fmt: skip
    chosen = {key: some[key] for key in rng.sample(list(some), rng.randrange(4))}
    steps = rng.choice((1, 2, 8, 20, 1000))
    return "POST", "/psa/plan", {**_draft(rng), "family": _family(rng), "steps": steps, **chosen}


def _get(rng):
    paths = ("/psa/presets", "/psa/version", "/psa/fields?locale=zh", "/psa/fields?locale=/",
             "/psa/export", "PLACE", "EXPORT")  # fmt: skip
    path = rng.choice(paths)
    if path == "PLACE":
        bases = ("", "?base_family=x&base_preset=y", "?base_family=" + FAMILIES[0])
        path = _place(rng) + rng.choice(bases)
    if path == "EXPORT":
        names = {"family": _family(rng), "preset": _name(rng)}
        path = "/psa/export?" + urllib.parse.urlencode(names, errors="surrogatepass")
    return "GET", path, {}


_MAKERS = (
    _validate, _validate, _validate, _put, _put, _duplicate, _rename, _delete, _import, _estimate,
    _plan, _get, _get,
)  # fmt: skip
