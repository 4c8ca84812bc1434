"""Drawing with Pillow: captions, framed thumbnails, rows and columns of panels."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

GREEN, RED, GREY, INK = (30, 150, 60), (205, 40, 40), (120, 120, 120), (25, 25, 25)
GAP = 6


def thumbnail(image: Image.Image, height: int, frame: tuple[int, int, int] | None = None) -> Image.Image:
    """`image` at `height`, inside a 4 pixel frame of the colour `frame` (white when None)."""
    size = round(image.width * height / image.height), height
    return ImageOps.expand(image.resize(size, Image.Resampling.BICUBIC), 4, frame or "white")


def text(words: str, size: int = 15, colour: tuple[int, int, int] = INK, width: int | None = None) -> Image.Image:
    """One line of text on white, `width` pixels wide (as wide as the words when None)."""
    font = ImageFont.load_default(size)
    panel = Image.new("RGB", (int(width or font.getlength(words) + 4), round(size * 1.6)), "white")
    ImageDraw.Draw(panel).text((2, panel.height // 2), words, fill=colour, font=font, anchor="lm")
    return panel


def row(panels: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Panels side by side, centred vertically, on white."""
    width, height = sum(panel.width + gap for panel in panels) - gap, max(panel.height for panel in panels)
    canvas = Image.new("RGB", (width, height), "white")
    x = 0
    for panel in panels:
        canvas.paste(panel, (x, (height - panel.height) // 2))
        x += panel.width + gap
    return canvas


def column(panels: Sequence[Image.Image], gap: int = GAP) -> Image.Image:
    """Panels one under the other, left aligned, on white."""
    width, height = max(panel.width for panel in panels), sum(panel.height + gap for panel in panels) - gap
    canvas = Image.new("RGB", (width, height), "white")
    y = 0
    for panel in panels:
        canvas.paste(panel, (0, y))
        y += panel.height + gap
    return canvas
