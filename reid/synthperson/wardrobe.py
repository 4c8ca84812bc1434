"""Who the people are: build, hair, clothes and bags, drawn from the clothing statistics of a style."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from reid.synthperson.styles import (
    BOTTOMS,
    COLOURS,
    HAIR_STYLES,
    HAIR_WEIGHTS,
    HAIRS,
    PATTERNS,
    SKINS,
    SKIRTS,
    TOPS,
    Colour,
    Style,
)

Key = TypeVar("Key")


@dataclass(frozen=True)
class Garment:
    """A piece of clothing: two colours in [0, 1], how they are laid out, and a detail at the front."""

    colour: Colour
    second: Colour
    pattern: str = "plain"
    pitch: float = 0.05
    front: str = "closed"


@dataclass(frozen=True)
class Identity:
    """Everything about a person that all cameras agree on. Lengths are fractions of the body height."""

    stature: float
    girth: float
    skin: Colour
    hair: Colour
    hair_style: str
    top: Garment
    sleeve: float
    hem: float
    padding: float
    bottom: Garment
    skirt_length: float
    leg_length: float
    looseness: float
    shoes: Colour
    soles: Colour
    headwear: str
    headwear_colour: Colour
    bag: str
    bag_colour: Colour
    bag_side: int
    scarf: Colour | None


def pick(rng: np.random.Generator, frequencies: Mapping[Key, float]) -> Key:
    """One key of `frequencies`, each as often as its weight says."""
    weights = np.fromiter(frequencies.values(), dtype=float)
    return list(frequencies)[rng.choice(len(weights), p=weights / weights.sum())]


def _shade(rng: np.random.Generator, colour: Colour, spread: float = 0.045) -> Colour:
    """A fabric of that colour: brightness and hue vary a little between people."""
    varied = np.asarray(colour) * rng.uniform(0.85, 1.15) + rng.normal(0, spread / 2, 3)
    red, green, blue = (float(value) for value in np.clip(varied, 0.04, 0.95))
    return red, green, blue


def _garment(rng: np.random.Generator, colours: Mapping[str, float], patterned: float, front: str) -> Garment:
    name = pick(rng, colours)
    others = {**colours, "white": 3.0, "black": 2.0}
    del others[name]
    return Garment(
        colour=_shade(rng, COLOURS[name]),
        second=_shade(rng, COLOURS[pick(rng, others)]),
        pattern=pick(rng, PATTERNS) if rng.random() < patterned else "plain",
        pitch=float(rng.uniform(0.028, 0.065)),
        front=front,
    )


def _bottom(rng: np.random.Generator, style: Style, kind: str) -> Garment:
    if kind in ("jeans", "hot pants"):
        blue = pick(rng, {"denim": 4, "light denim": 2, "navy": 2, "black": 2, "charcoal": 1})
        return Garment(_shade(rng, COLOURS[blue]), _shade(rng, COLOURS["light denim"]), pattern="faded")
    if kind == "track pants":
        dark = pick(rng, {"black": 3, "navy": 2, "charcoal": 1, "red": 0.5})
        light = pick(rng, {"white": 4, "red": 1, "yellow": 0.7, "sky": 1})
        return Garment(_shade(rng, COLOURS[dark]), _shade(rng, COLOURS[light]), pattern="side stripe")
    return _garment(rng, style.bottom_colours, 0.4 if kind in SKIRTS else 0.06, "closed")


def identity(style: Style, rng: np.random.Generator) -> Identity:
    """Draw one person of the style."""
    top_kind, bottom_kind = pick(rng, style.tops), pick(rng, style.bottoms)
    sleeve, hem, fronts = TOPS[top_kind]
    top = _garment(rng, style.top_colours, style.patterned, pick(rng, fronts))
    if top_kind == "puffer":
        top = replace(top, pattern="quilted")
    dressed = "dress" not in top_kind  # below the waist
    leg_length, looseness = BOTTOMS.get(bottom_kind, (0.0, 1.0)) if dressed else (0.0, 1.0)
    headwear = pick(rng, style.headwear)
    if headwear == "hood" and top_kind not in ("hoodie", "parka", "puffer"):
        headwear = "none"
    extras = {**style.top_colours, "black": 4.0, "brown": 1.5}
    return Identity(
        stature=float(np.clip(rng.normal(1.71, 0.09), 1.5, 1.95)),
        girth=float(np.clip(rng.normal(1.0, 0.11), 0.82, 1.35)),
        skin=_shade(rng, SKINS[rng.choice(len(SKINS), p=[0.25, 0.32, 0.2, 0.13, 0.1])], 0.02),
        hair=_shade(rng, HAIRS[rng.choice(len(HAIRS), p=np.array(HAIR_WEIGHTS) / sum(HAIR_WEIGHTS))], 0.02),
        hair_style=pick(rng, HAIR_STYLES),
        top=top,
        sleeve=sleeve * float(rng.uniform(0.9, 1.08)),
        hem=hem + float(rng.uniform(-0.015, 0.015)),
        padding={"puffer": 1.28, "parka": 1.2}.get(top_kind, 1.1 if sleeve > 0.25 else 1.0),
        bottom=_bottom(rng, style, bottom_kind),
        skirt_length=SKIRTS.get(bottom_kind, 0.0) * float(rng.uniform(0.9, 1.1)) if dressed else 0.0,
        leg_length=leg_length * float(rng.uniform(0.93, 1.03)),
        looseness=looseness,
        shoes=_shade(rng, COLOURS[pick(rng, {"black": 5, "white": 3, "brown": 2, "grey": 1.5, "red": 0.6, "navy": 1})]),
        soles=_shade(rng, COLOURS[pick(rng, {"black": 2, "white": 3, "brown": 1})]),
        headwear=headwear,
        headwear_colour=_shade(rng, COLOURS[pick(rng, extras)]) if headwear != "hood" else top.colour,
        bag=pick(rng, style.bags),
        bag_colour=_shade(rng, COLOURS[pick(rng, extras)]),
        bag_side=int(rng.choice([-1, 1])),
        scarf=_shade(rng, COLOURS[pick(rng, style.top_colours)]) if rng.random() < style.scarves else None,
    )
