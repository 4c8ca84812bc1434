"""A contact sheet: people in rows, cameras in groups of columns."""

import io
from pathlib import Path

from PIL import Image

from reid.runtime.files import write_atomically
from reid.synthperson.render import render


def contact_sheet(
    name: str, path: str | Path, ids: int = 6, cams: int = 4, per_cam: int = 3, height: int = 128, width: int = 64,
    seed: int = 0,
) -> Path:  # fmt: skip
    """Write a PNG of the first `ids` people, `per_cam` images of each in each of `cams` cameras. Returns its path."""
    gap = 4
    sheet = Image.new("RGB", ((width + gap) * cams * per_cam - gap, (height + gap) * ids - gap), "white")
    for pid in range(ids):
        for column in range(cams * per_cam):
            cam, index = divmod(column, per_cam)
            picture = Image.open(io.BytesIO(render(name, seed, pid + 1, cam, index, height, width)))
            sheet.paste(picture, (column * (width + gap), pid * (height + gap)))
    return write_atomically(path, lambda temporary: sheet.save(temporary, format="PNG"))
