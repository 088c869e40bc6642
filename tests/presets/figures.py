"""The authors' figures, literally, and a single file as they ship it."""

from psa_presets.yaml_text import dump, parse

# family: (width, height, depth divisors, maybe a clip's length), text length
FAMILIES = {
    "Wan2.1_14b": ((16, 16, 4), 0),
    "Wan2.1_1.3b": ((16, 16, 4), 0),
    "Wan2.2_A14B": ((16, 16, 4), 0),
    "Wan2.2_5B": ((32, 32, 4), 0),
    "CogVideo1.5_5b": ((16, 16, 8), 226),
    "CogVideo_5b": ((16, 16, 4), 226),
}

# the same of families that only we have presets for; None: the text varies
OURS = {
    "Small_Wan": ((8, 8, 2), 0),
    "HunyuanVideo": ((16, 16, 4), None),
    "HunyuanVideo1.5": ((16, 16, 4), None),
    "LTX-Video": ((32, 32, 8), 0),
    "LTX-2": ((32, 32, 8), 0),
    "Mochi": ((16, 16, 6), None),
    "Cosmos-Predict2": ((16, 16, 4), 0),
    "Kandinsky5": ((16, 16, 4), 0),
    "Qwen-Image": ((16, 16, 4), None),
    "Flux": ((16, 16, 1), None),
    "MiniMax-H3": ((32, 32, 4, 17), None),
}
SHIPPED = {**FAMILIES, **OURS}

MASS = "thresholdbound"
# family, preset, mode, n, attn_impl, sim mask, rearrange, warm-up, upper bounds of 1 2 4 8, x8
PRESETS = [
    ("Wan2.1_14b", "psa_balanced", MASS, 128, "new", 0, 1, 15, (0.4, 0.5, 0.6, 0.8), 0.6),
    ("Wan2.1_1.3b", "psa_balanced", MASS, 128, "old", 1, 1, 15, (0.5, 0.6, 0.7, 0.8), 0.6),
    ("Wan2.1_1.3b", "psa_topk", "topk", 32, "new", 0, 1, 15, (0.05, 0.1, 0.15, 0.25), 0.65),
    ("Wan2.2_A14B", "psa_balanced", MASS, 32, "new", 0, 1, 12, (0.5, 0.6, 0.6, 0.8), 0.6),
    ("Wan2.2_5B", "psa_balanced", MASS, 32, "new", 0, 1, 15, (0.6, 0.7, 0.7, 0.8), 0.6),
    ("CogVideo1.5_5b", "psa_balanced", "topk", 32, "new", 0, 1, 15, (0.1, 0.15, 0.15, 0.35), 0.6),
    ("CogVideo_5b", "psa_balanced", "topk", 128, "new", 0, 0, 15, (0.1, 0.15, 0.15, 0.35), 0.6),
    ("CogVideo_5b", "psa_4steps", "topk", 128, "old", 0, 0, 0, (0.05, 0.15, 0.25, 0.5), 0.6),
]


def mask_ratios(uppers):
    bounds = (0.0, *uppers, 1.0)
    return {level: (bounds[i], bounds[i + 1]) for i, level in enumerate((1, 2, 4, 8, 0))}


def single_file() -> str:
    """All six families in one text: verbose, capitalised booleans, comments, loose spacing."""
    lines = ["# PSA attention configuration", ""]
    for family, ((width, height, depth), text) in FAMILIES.items():
        lines += [
            f"{family}:",
            "  default_attention: psa_balanced     # used when nothing else is asked for",
            "  video_scale:                       # Video dimension divisors",
            f"    width_divisor: {width}",
            f"    height_divisor: {height}",
            f"    depth_divisor: {depth}",
            f"  text_length: {text}",
            "  attention_configs:",
            "    baseline:",
            "      type: dense",
            '      description: "Dense attention baseline"',
        ]
        for preset in (row for row in PRESETS if row[0] == family):
            lines += _preset_lines(*preset[1:])
        lines.append("")
    return "\n".join(lines)


def _preset_lines(name, mode, n, impl, sim_mask, rearrange, warmup, uppers, x8):
    ratios = [
        f"        {level}: [{low}, {high}]    # level {level}"
        for level, (low, high) in mask_ratios(uppers).items()
    ]
    return [
        f"    {name}:",
        "      type: psa",
        f'      description: "{name}, as the authors have it"',
        f"      use_rearrange: {bool(rearrange)}",
        f"      use_sim_mask: {bool(sim_mask)}",
        "      block_size:",
        "        m: 128",
        f"        n: {n}",
        "        tile_n: 32",
        "      mask_ratios:",
        *ratios,
        f"      mask_mode: {mode}",
        f"      attn_impl: {impl}_mask_type",
        "      tile_size: [2, 8, 8]",
        f"      warmup_steps: {warmup}",
        "      rearrange_method: Gilbert",
        "      verbose: true",
        "      sim_thresholds:",
        "        x2: 0.7",
        "        x4: 0.65",
        f"        x8: {x8}",
        "",
    ]


def renamed_single_file() -> str:
    """The same with presets under names of its own."""
    data = parse(single_file()).data
    for section in data.values():
        configs = section["attention_configs"]
        section["attention_configs"] = {f"their {k}": v for k, v in configs.items()}
        section["default_attention"] = "their psa_balanced"
    return dump(data)
