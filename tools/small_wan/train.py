"""Flow matching on ComfyUI's own WanModel, by the clock and resumable in pieces.

The model sees x = (1 - sigma) x0 + sigma noise and the timestep 1000 sigma, and is to say
noise - x0: what ComfyUI's sampling of Wan expects.  Weights are kept in float32; the model computes
in bfloat16 on a GPU, as ComfyUI runs it there.
"""

from __future__ import annotations

import json
import platform
import runpy
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from . import checkpoint, comfy_model, conditions
from .assets import Assets
from .codec import Codec
from .curriculum import CURRICULA, size_at, tokens
from .pool import Pool

LOG_EVERY = 50
COUNTS = ("step", "seconds", "tokens")
MODEL_FILE, LOG_FILE = "small_wan.safetensors", "log.jsonl"


@dataclass(frozen=True)
class Settings:
    """What makes one training differ from another; goes into the model's record."""

    dim: int = 512
    layers: int = 8
    ffn: int = 1536
    locality: float = 1.0
    rate: float = 2e-3  # of Muon
    adam_share: float = 0.5  # AdamW's rate, as a share of Muon's
    decay: float = 0.02
    batch_tokens: int = 65536
    warmup_steps: int = 200
    decay_from: float = 0.55  # share of the time after which the rate falls to zero, linearly
    ema: float = 0.999
    sigma_shift: float = 4.0
    prompt_dropout: float = 0.1
    reuse: int = 4
    curriculum: str = "default"
    seed: int = 1


class Trainer:
    def __init__(
        self,
        settings: Settings,
        codec: Codec,
        assets: Assets,
        comfyui: Path,
        *,
        device: str,
        compiled: bool,
    ):
        self.settings, self.device = settings, torch.device(device)
        self.dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        self.model = comfy_model.build(
            comfyui,
            dim=settings.dim,
            layers=settings.layers,
            ffn=settings.ffn,
            device=device,
            dtype=self.dtype,
        )
        first = comfy_model.first_weights(self.model, settings.seed, locality=settings.locality)
        self.weights = {name: w.to(self.device) for name, w in first.items()}
        self.average = {name: w.clone() for name, w in self.weights.items()}
        for weight in self.weights.values():
            weight.requires_grad_()
        self.optimizers = optimizers(self.weights, settings, fused=self.device.type == "cuda")
        if compiled:
            # one program a clip size, shared by all blocks
            torch._dynamo.config.recompile_limit = 64
            for block in self.model.blocks:
                block.compile(dynamic=False)
        self.pool = Pool(
            codec.to(self.device),
            assets.to(self.device),
            batch_tokens=settings.batch_tokens,
            reuse=settings.reuse,
            dtype=self.dtype,
            seed=settings.seed * 1_000_000_000,
        )
        self.stages = CURRICULA[settings.curriculum]
        self.parameters = dict(self.model.named_parameters())
        self._rotary: dict = {}
        self.step, self.seconds, self.tokens = 0, 0.0, 0
        self.copy_weights()

    @torch.no_grad()
    def copy_weights(self) -> None:
        torch._foreach_copy_(
            [self.parameters[name] for name in self.weights], list(self.weights.values())
        )

    def rotary(self, latents: torch.Tensor) -> torch.Tensor:
        shape = tuple(latents.shape[2:])
        if shape not in self._rotary:
            self._rotary[shape] = self.model.rope_encode(
                *shape, device=self.device, dtype=torch.float32
            )
        return self._rotary[shape]

    def loss(self, latents: torch.Tensor, words: torch.Tensor, generator) -> torch.Tensor:
        count, shift = len(latents), self.settings.sigma_shift

        def random(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, device=self.device)

        # evenly spread over the batch, so that a small one is no worse a sample
        u = (torch.arange(count, device=self.device) + random(count)) / count
        sigma = shift * u / (1 + (shift - 1) * u)
        noise = torch.empty_like(latents).normal_(generator=generator)
        level = sigma.view(-1, 1, 1, 1, 1)
        kept = random(count) >= self.settings.prompt_dropout
        context = conditions.embed(words) * kept[:, None, None]
        predicted = self.model.forward_orig(
            latents.lerp(noise, level).to(self.dtype),
            sigma * 1000,
            context=context.to(self.dtype),
            freqs=self.rotary(latents),
            transformer_options={},
        )
        return torch.nn.functional.mse_loss(predicted.float(), noise - latents)

    def train_step(self, progress: float) -> torch.Tensor:
        s = self.settings
        # everything random comes from the step's number: a resumed run needs no generator's state
        seed = s.seed * 100_000_007 + self.step
        generator = torch.Generator(self.device).manual_seed(seed)
        size = size_at(self.stages, progress, seed)
        latents, words = self.pool.batch(size, generator)
        with comfy_model.gradients_wanted():
            loss = self.loss(latents, words, generator)
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.apply(self.rate(progress))
        self.step += 1
        self.tokens += len(latents) * tokens(size)
        return loss.detach()

    def rate(self, progress: float) -> float:
        s = self.settings
        warm = min(1.0, (self.step + 1) / s.warmup_steps)
        left = (1 - progress) / (1 - s.decay_from)
        return s.rate * warm * max(0.0, min(1.0, left))

    @torch.no_grad()
    def apply(self, rate: float) -> None:
        for name, weight in self.weights.items():
            weight.grad = self.parameters[name].grad.float()
        for optimizer, share in zip(self.optimizers, (1, self.settings.adam_share), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * share
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        # short memory at first, when weights change most
        keep = min(self.settings.ema, (self.step + 1) / (self.step + 10))
        torch._foreach_lerp_(list(self.average.values()), list(self.weights.values()), 1 - keep)
        self.copy_weights()

    def save(self, out: Path) -> None:
        state = {name: getattr(self, name) for name in (*COUNTS, "weights", "average")}
        state |= {
            "settings": asdict(self.settings),
            "pool_seed": self.pool.seed,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        checkpoint.save_state(out, state)

    @torch.no_grad()
    def load(self, state: dict) -> None:
        if state["settings"] != asdict(self.settings):
            raise ValueError(f"the state was trained with other settings: {state['settings']}")
        for name in COUNTS:
            setattr(self, name, state[name])
        self.pool.seed = state["pool_seed"]
        for mine, kept in ((self.weights, "weights"), (self.average, "average")):
            for name, weight in mine.items():
                weight.copy_(state[kept][name])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.copy_weights()


def optimizers(
    weights: dict[str, torch.Tensor], settings: Settings, *, fused: bool
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    """Muon takes every matrix but the model's last, which writes the output; AdamW the rest."""
    matrices = [w for name, w in weights.items() if w.ndim == 2 and not name.startswith("head.")]
    others = [w for name, w in weights.items() if w.ndim != 2 or name.startswith("head.")]
    # scaled to an Adam step's size, so that both share one learning rate
    muon = torch.optim.Muon(matrices, weight_decay=settings.decay, adjust_lr_fn="match_rms_adamw")
    # biases, norms and modulations are not drawn to zero
    adam = torch.optim.AdamW(
        [
            {"params": [w for w in others if w.ndim in (2, 5)]},
            {"params": [w for w in others if w.ndim in (1, 3)], "weight_decay": 0},
        ],
        betas=(0.9, 0.98),
        weight_decay=settings.decay,
        fused=fused,
    )
    return muon, adam


def train(
    settings: Settings,
    codec: Codec,
    assets: Assets,
    comfyui: Path,
    out: Path,
    *,
    minutes: float,
    total_minutes: float,
    max_steps: int | None = None,
    device: str,
    compiled: bool,
) -> bool:
    """One piece.  Writes the state to out; once `total_minutes` are over the model, and is True."""
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = True
    trainer = Trainer(settings, codec, assets, comfyui, device=device, compiled=compiled)
    state = checkpoint.load_state(out, trainer.device)
    if state is not None:
        trainer.load(state)
        print(f"resumed at step {trainer.step}, {trainer.seconds:.0f} s", flush=True)
    before = trainer.seconds
    losses, mark = [], (time.monotonic(), trainer.tokens)
    while True:
        trainer.seconds = before + time.monotonic() - started
        progress = trainer.seconds / (total_minutes * 60)
        if max_steps is not None:
            progress = max(progress, trainer.step / max_steps)
        if progress >= 1 or trainer.seconds - before >= minutes * 60:
            break
        losses.append(trainer.train_step(progress))
        if trainer.step % LOG_EVERY == 0:
            # the only place that waits for the GPU
            loss = torch.stack(losses).mean().item()
            now = time.monotonic()
            entry = {
                "step": trainer.step,
                "seconds": round(trainer.seconds, 1),
                "progress": round(progress, 4),
                "loss": round(loss, 5),
                "rate": trainer.rate(progress),
                "tokens_per_second": round((trainer.tokens - mark[1]) / (now - mark[0])),
            }
            losses, mark = [], (now, trainer.tokens)
            with (out / LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps(entry) + "\n")
            if trainer.step % (10 * LOG_EVERY) == 0:
                print(json.dumps(entry), flush=True)
            if loss != loss:
                raise FloatingPointError(f"the loss is NaN at step {trainer.step}")
    trainer.save(out)
    if progress < 1:
        print(f"piece ends at step {trainer.step}, {trainer.seconds:.0f} s", flush=True)
        return False
    record = training_record(trainer, comfyui, out)
    checkpoint.save_model(out / MODEL_FILE, trainer.average, record)
    print(
        f"finished at step {trainer.step}, {trainer.seconds:.0f} s: {out / MODEL_FILE}", flush=True
    )
    return True


def training_record(trainer: Trainer, comfyui: Path, out: Path) -> dict:
    cuda = trainer.device.type == "cuda"
    return {
        "steps": trainer.step,
        "seconds": round(trainer.seconds),
        "tokens": trainer.tokens,
        "parameters": sum(weight.numel() for weight in trainer.weights.values()),
        "device": torch.cuda.get_device_name() if cuda else platform.processor() or "cpu",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "comfyui": comfyui_version(comfyui),
        "settings": asdict(trainer.settings),
        "loss": loss_summary(out / LOG_FILE),
    }


def comfyui_version(comfyui: Path) -> str:
    return runpy.run_path(str(comfyui / "comfyui_version.py"))["__version__"]


def loss_summary(log: Path, points: int = 20) -> list[list[float]]:
    """[share of the training, mean loss in the part that ends there], at most `points` rows."""
    rows: dict[int, list[float]] = {}
    if log.is_file():
        for line in log.read_text(encoding="utf-8").splitlines():
            entry = json.loads(line)
            rows.setdefault(min(points - 1, int(entry["progress"] * points)), []).append(
                entry["loss"]
            )
    return [[(i + 1) / points, round(sum(x) / len(x), 4)] for i, x in sorted(rows.items())]
