"""Budgets fitted to single blocks, beside the presets that they start from, at equal density."""

from __future__ import annotations

from psa_kernels import PSAConfig
from psa_pack.nodes.calibration.errors import CalibrationError
from psa_pack.nodes.calibration.fit import fit
from psa_pack.nodes.calibration.journal import Journal
from psa_pack.nodes.calibration.run import Effort, measure
from psa_pack.nodes.preset_value import PresetValue

from .settings import CALIBRATED, Setting, Settings
from .subject import Clip

PRESETS = ("fast", "balanced", "faithful")
CLIP = 1000  # what is calibrated on; never one of those that are measured
EFFORT = Effort(steps=4, probes=2)
UNIFORM = "the preset"  # the row that the others are compared with
# row -> how errors are predicted from what was measured (nodes/calibration/predict.py)
PREDICTORS = {"calibrated": {}, "probes taken whole": {"trust": 1.0}}


def rows(job) -> Settings:
    """Each preset, and the preset calibrated at its density with each predictor."""
    settings = Settings()
    found = settings.rows
    family = job.families[0]
    for name in PRESETS:
        base = family.attention_configs[name]
        table = f"calibrated at the density of {name}"
        if not any(job.wants(f"{table}: {label}") for label in (UNIFORM, *PREDICTORS)):
            continue  # measuring costs more than sampling
        try:
            measured = _measured(job, name, base)
        except CalibrationError as reason:
            settings.left_out.append((table, "calibrated", str(reason)))
            continue
        if measured.compared is not None:  # what blocks of their own gain beyond the grouping
            base = base.replace(grouping=measured.compared.chosen)
        uniform = f"{table}: {UNIFORM}"
        found.append(_row(uniform, table, UNIFORM, base, ""))
        for label, how in PREDICTORS.items():
            fitted = fit(measured, base, **how)
            found.append(_row(f"{table}: {label}", table, label, fitted.config, uniform))
            blocks = {str(block): point.density for block, point in fitted.blocks.items()}
            job.results.add(
                "fit", table=table, label=label, blocks=blocks, weights=fitted.weights,
                density=fitted.chosen.density, error=fitted.chosen.error ** 0.5,
            )  # fmt: skip
    return settings


def _row(key: str, table: str, label: str, config, against: str) -> Setting:
    own = PSAConfig.from_preset(config.to_preset())
    return Setting(key, CALIBRATED, table, label, own, against)


def _measured(job, name: str, base):
    subject, sampling = job.subject, job.sampling
    about = {
        "subject": subject.digest, "sampling": str(sampling), "clip": CLIP,
        "preset": base.to_preset(), "effort": str(EFFORT), "device": str(subject.device),
    }  # fmt: skip
    journal = Journal(job.results.path.parent / "calibrations", about)
    job.say(f"calibrating {name}")
    found = measure(
        subject.model, PresetValue(base, name=name), EFFORT,
        lambda model: subject.dense(Clip.number(CLIP), sampling, model), journal,
    )  # fmt: skip
    job.say(f"calibrated {name}: {len(found.blocks)} blocks, {len(found.scales)} rungs")
    return found
