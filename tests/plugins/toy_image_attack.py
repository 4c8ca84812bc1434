"""An attack on each image outside this project: --plugin tests/plugins/toy_image_attack.py"""

from dataclasses import dataclass

from reid.attacks import IMAGE
from reid.attacks.image.linf import LInf


@IMAGE.register("toy", "one full step towards a short feature")
@dataclass(frozen=True)
class Toy(LInf):
    steps: int = 1

    def objective(self, features, clean, batch):
        return -features.norm(dim=1)

    def step(self, images, gradient, eps, number):
        return images + 2 * eps * gradient.sign()
