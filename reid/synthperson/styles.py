"""What people wear where: colours, garments, and the clothing statistics of the four places."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Style:
    """Clothing statistics of a place and season: relative frequencies by name."""

    tops: Mapping[str, float]
    bottoms: Mapping[str, float]
    bags: Mapping[str, float]
    headwear: Mapping[str, float]
    top_colours: Mapping[str, float]
    bottom_colours: Mapping[str, float]
    patterned: float
    scarves: float


COLOURS: dict[str, Colour] = {
    "black": (0.09, 0.09, 0.10),
    "charcoal": (0.21, 0.22, 0.24),
    "grey": (0.47, 0.48, 0.49),
    "silver": (0.70, 0.71, 0.72),
    "white": (0.91, 0.91, 0.89),
    "cream": (0.86, 0.80, 0.68),
    "beige": (0.70, 0.60, 0.46),
    "brown": (0.36, 0.25, 0.18),
    "navy": (0.12, 0.15, 0.30),
    "denim": (0.25, 0.34, 0.50),
    "light denim": (0.48, 0.58, 0.70),
    "blue": (0.14, 0.32, 0.68),
    "sky": (0.50, 0.70, 0.88),
    "teal": (0.10, 0.48, 0.48),
    "green": (0.16, 0.46, 0.24),
    "olive": (0.33, 0.34, 0.20),
    "lime": (0.62, 0.80, 0.25),
    "yellow": (0.92, 0.78, 0.22),
    "orange": (0.90, 0.47, 0.14),
    "red": (0.74, 0.13, 0.14),
    "burgundy": (0.38, 0.09, 0.15),
    "pink": (0.90, 0.58, 0.66),
    "magenta": (0.78, 0.16, 0.50),
    "purple": (0.38, 0.22, 0.52),
}
SKINS: tuple[Colour, ...] = (
    (0.93, 0.76, 0.65),
    (0.87, 0.68, 0.54),
    (0.77, 0.57, 0.42),
    (0.58, 0.40, 0.28),
    (0.37, 0.25, 0.18),
)
HAIRS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06),
    (0.13, 0.09, 0.07),
    (0.27, 0.17, 0.11),
    (0.45, 0.29, 0.16),
    (0.74, 0.60, 0.37),
    (0.62, 0.61, 0.60),
    (0.48, 0.18, 0.10),
)
HAIR_WEIGHTS = (5, 5, 4, 2, 1.5, 1.2, 0.6)
HAIR_STYLES = {
    "short": 5,
    "crop": 1.5,
    "bob": 2,
    "long": 3,
    "ponytail": 1.5,
    "bun": 1,
    "bald": 0.6,
    "curly": 0.8,
}

# name of a top: (sleeve length, how low it hangs, which fronts it has)
TOPS: dict[str, tuple[float, float, dict[str, float]]] = {
    "vest": (0.0, 0.50, {"closed": 1}),
    "t-shirt": (0.15, 0.49, {"closed": 5, "print": 4}),
    "polo": (0.16, 0.49, {"buttons": 1}),
    "shirt": (0.32, 0.48, {"buttons": 2, "closed": 1}),
    "open shirt": (0.20, 0.47, {"open": 1}),
    "sweater": (0.33, 0.48, {"closed": 4, "print": 1}),
    "hoodie": (0.33, 0.47, {"zip": 1, "print": 1, "open": 1}),
    "jacket": (0.34, 0.47, {"zip": 2, "open": 2}),
    "puffer": (0.34, 0.46, {"zip": 2, "open": 1}),
    "coat": (0.34, 0.31, {"buttons": 2, "open": 2}),
    "parka": (0.34, 0.38, {"zip": 2, "open": 1}),
    "blazer": (0.33, 0.46, {"open": 1, "tie": 1}),
    "dress": (0.12, 0.30, {"closed": 1}),
    "long dress": (0.02, 0.16, {"closed": 1}),
}
# name of trousers: (length down the leg of 0.46 to the ankle, looseness)
BOTTOMS: dict[str, tuple[float, float]] = {
    "jeans": (0.47, 1.06),
    "trousers": (0.47, 1.16),
    "wide trousers": (0.47, 1.38),
    "leggings": (0.45, 0.94),
    "track pants": (0.46, 1.18),
    "shorts": (0.21, 1.28),
    "hot pants": (0.11, 1.10),
    "capri": (0.35, 1.08),
}
SKIRTS = {"skirt": 0.15, "midi skirt": 0.27}  # length below the hip
PATTERNS = {"stripes": 3, "bands": 1.5, "pinstripes": 1, "checks": 3, "dots": 1, "block": 2, "panels": 1.5,
            "camouflage": 1, "yoke": 1.5}  # fmt: skip

SUMMER_CAMPUS = Style(
    tops={"t-shirt": 9, "vest": 1.5, "polo": 2, "shirt": 2, "open shirt": 2, "sweater": 1, "hoodie": 1, "dress": 2,
          "long dress": 0.7},
    bottoms={"jeans": 5, "trousers": 2, "wide trousers": 1, "leggings": 1, "shorts": 6, "hot pants": 1.5, "capri": 1,
             "skirt": 2, "midi skirt": 1},
    bags={"none": 4, "backpack": 4.5, "shoulder": 2, "hand": 1},
    headwear={"none": 8, "cap": 1.6, "sun hat": 0.5},
    top_colours={"white": 5, "black": 3, "grey": 2, "silver": 1, "sky": 2, "blue": 2, "navy": 1.5, "red": 2, "pink": 2,
                 "yellow": 1.5, "green": 1, "lime": 0.6, "teal": 1, "orange": 1, "purple": 1, "cream": 1.5},
    bottom_colours={"denim": 4, "light denim": 3, "black": 3, "beige": 2, "navy": 1.5, "grey": 1.5, "white": 1,
                    "olive": 1, "red": 0.5, "pink": 0.5},
    patterned=0.42,
    scarves=0.0,
)  # fmt: skip
WINTER_CITY = Style(
    tops={"coat": 5, "puffer": 4, "jacket": 4, "parka": 3, "hoodie": 2, "blazer": 1, "sweater": 1},
    bottoms={"jeans": 6, "trousers": 5, "wide trousers": 1, "leggings": 2, "track pants": 1.5, "midi skirt": 0.7},
    bags={"none": 5, "backpack": 2.5, "shoulder": 3, "hand": 2},
    headwear={"none": 5, "beanie": 2.5, "cap": 0.7, "hood": 1.2},
    top_colours={"black": 6, "charcoal": 3, "navy": 3, "grey": 2, "brown": 2, "beige": 2, "olive": 2, "burgundy": 1.5,
                 "red": 0.7, "cream": 0.8, "green": 0.5, "blue": 0.7, "purple": 0.5, "yellow": 0.3},
    bottom_colours={"black": 5, "charcoal": 3, "denim": 4, "navy": 3, "grey": 1.5, "brown": 1, "olive": 0.5,
                    "beige": 0.5},
    patterned=0.34,
    scarves=0.3,
)  # fmt: skip
GAME = Style(
    tops={"t-shirt": 4, "vest": 2, "shirt": 2, "open shirt": 1, "sweater": 2, "hoodie": 2, "jacket": 3, "blazer": 1.5,
          "dress": 2, "coat": 1, "long dress": 0.7},
    bottoms={"jeans": 4, "trousers": 4, "track pants": 2, "shorts": 3, "leggings": 2, "skirt": 2, "wide trousers": 1},
    bags={"none": 8, "backpack": 1.5, "shoulder": 1, "hand": 0.5},
    headwear={"none": 8, "cap": 1, "beanie": 0.6},
    top_colours={"red": 3, "blue": 3, "green": 2.5, "yellow": 2, "orange": 2, "purple": 2, "teal": 2, "magenta": 2,
                 "lime": 1.5, "sky": 2, "white": 2, "black": 1.5, "grey": 1, "brown": 1},
    bottom_colours={"blue": 3, "denim": 2, "black": 2, "brown": 2, "beige": 2, "green": 1.5, "purple": 1, "grey": 2,
                    "teal": 1, "white": 1, "red": 1},
    patterned=0.40,
    scarves=0.03,
)  # fmt: skip
ANYWHERE = Style(
    tops=dict.fromkeys(TOPS, 1.0),
    bottoms=dict.fromkeys((*BOTTOMS, *SKIRTS), 1.0),
    bags={"none": 2, "backpack": 1, "shoulder": 1, "hand": 1},
    headwear={"none": 4, "cap": 1, "beanie": 1, "sun hat": 0.5, "hood": 1},
    top_colours=dict.fromkeys(COLOURS, 1.0),
    bottom_colours=dict.fromkeys(COLOURS, 1.0),
    patterned=0.40,
    scarves=0.15,
)
