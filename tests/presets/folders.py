"""What the tests put into a user's folder, and how they look at it."""

from psa_kernels.config import PSAConfig

MINE = PSAConfig(tail=32, block_n=128, warmup_steps=4, description="mine: a café, 日本")
CUSTOM = """\
Hunyuan:
  default_attention: calm
  video_scale: {width_divisor: 16, height_divisor: 16, depth_divisor: 4}
  text_length: 256
  attention_configs:
    calm: {type: dense}
    other: {tail: 32}
"""


def write(user_dir, name, text):
    user_dir.mkdir(parents=True, exist_ok=True)
    (user_dir / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*")} if folder.exists() else {}


def yaml_files(user_dir):
    return {name: text for name, text in snapshot(user_dir).items() if name.endswith(".yaml")}
