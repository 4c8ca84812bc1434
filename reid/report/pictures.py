"""The picture of an attack: what it does to images and colours, and what that does to ranked lists."""

from collections.abc import Sequence

import torch
from PIL import Image, ImageOps
from torch import Tensor

from reid.attacks.shown import MAGNIFIED, SLICES, colour_slices, magnified_difference
from reid.attacks.universal.perturbations import NODES, Perturbation
from reid.evaluation.retrieval import Retrieval
from reid.loading import ImageStore, to_images
from reid.loading.encode import to_image
from reid.report.canvas import GREEN, GREY, RED, column, row, text, thumbnail

LABEL = 150
LENGTH = 10  # of a ranked list


def perturbation_panel(images: Tensor, noise: Perturbation, height: int = 128) -> Image.Image:
    """Rows original, perturbed and difference x 8 of images (N, 3, H, W), then the colour table."""
    with torch.no_grad():
        perturbed = noise(images)
    change = magnified_difference(images, perturbed)
    rows = {"original": images, "perturbed": perturbed, f"difference x {MAGNIFIED}": change}
    panel = column([_labelled(name, [thumbnail(to_image(x), height) for x in batch]) for name, batch in rows.items()])
    colours = colour_table_panel(noise)
    return panel if colours is None else row([panel, colours], gap=24)


def colour_table_panel(noise: Perturbation, cell: int = 4) -> Image.Image | None:
    """What the colour table does to five slices of constant blue, and that times 8; None where there is no table."""
    slices = colour_slices(noise)
    if slices is None:
        return None
    side = NODES * cell
    panels = []
    for blue, *pair in zip(torch.linspace(0, 1, SLICES).tolist(), *slices, strict=True):
        shown = [to_image(x).resize((side, side), Image.Resampling.NEAREST) for x in pair]
        panels.append(column([text(f"blue {blue:.2f}", 12, GREY), *shown], gap=2))
    words = f"colours (red down, green across) and what the table adds, x {MAGNIFIED}"
    return column([text(words, 13), row(panels)])


def ranked_lists(retrieval: Retrieval, noise: Perturbation, which: Sequence[int]) -> list[Image.Image]:
    """Ranked lists, clean and attacked, of the queries at positions `which`; matches framed green, misses red."""
    query, gallery = retrieval.query, retrieval.gallery
    chosen = ImageStore([query.samples[i] for i in which], query.height, query.width)
    pixels = to_images(chosen.batch(range(len(chosen))), retrieval.compute.device)
    clean, gallery_features = retrieval.clean
    attacked = retrieval.features(chosen, noise).features
    lists = [retrieval.rank_list(chosen, each, gallery_features, LENGTH) for each in (clean[list(which)], attacked)]
    with torch.no_grad():
        shown = pixels, noise(pixels)
    panels = []
    for place, i in enumerate(which):
        for name, images, ranked in zip(("clean", "attacked"), shown, lists, strict=True):
            image, order = images[place], [j for j in ranked.places[place].tolist() if j >= 0]
            hits = [gallery.samples[j].pid == query.samples[i].pid for j in order]
            answers = [to_image(x) for x in to_images(gallery.batch(order), torch.device("cpu"))]
            panels.append(ranked_panel(to_image(image), f"query {i}, {name}", answers, hits))
    return panels


def ranked_panel(
    query: Image.Image, caption: str, gallery: Sequence[Image.Image], hits: Sequence[bool], height: int = 96
) -> Image.Image:
    """A query and the head of its ranked list, matches framed green and misses red."""
    answers = [thumbnail(image, height, GREEN if hit else RED) for image, hit in zip(gallery, hits, strict=True)]
    return row([text(caption, 13, width=LABEL), thumbnail(query, height, GREY), text(" "), *answers])


def attack_picture(retrieval: Retrieval, noise: Perturbation, title: str, num_queries: int = 4) -> Image.Image:
    """The whole picture for evenly spaced queries (none is picked for its effect)."""
    count = len(retrieval.query)
    which = [round((i + 0.5) * count / num_queries - 0.5) for i in range(num_queries)]
    images = to_images(retrieval.query.batch(which), retrieval.compute.device)
    subtitle = f"{noise.threat.label}; queries evenly spaced; frames: green = same person, red = another"
    panels = [perturbation_panel(images, noise), *ranked_lists(retrieval, noise, which)]
    whole = column([text(title, 22), text(subtitle, 14, GREY), *panels], gap=12)
    return ImageOps.expand(whole, 14, "white")


def _labelled(name: str, thumbnails: Sequence[Image.Image]) -> Image.Image:
    return row([text(name, 14, width=LABEL), *thumbnails])
