"""State dicts: our attacker files, and those of the released code."""

from pathlib import Path

from reid.attacks import files
from reid.attacks.formats.base import Format
from reid.attacks.universal.perturbations import Perturbation
from reid.runtime.torchfiles import write_torch


def _write_attacker(path: Path, noise: Perturbation) -> str:
    files.save(path, noise, noise.provenance)
    return f"noise type {noise.noise_type}, its threat and how it was made, to the bit"


def _write_released(path: Path, noise: Perturbation) -> str:
    write_torch(path, dict(noise.state_dict()))
    return f"the parameters of noise type {noise.noise_type}, to the bit"


ATTACKER = Format(_write_attacker, is_whole=True)
RELEASED = Format(_write_released)
