"""From JPEG files to tensors: an epoch of training batches (flip, crop, erasing), or of attack batches.

    python -m benchmarks.loading                          # training: 64x128 JPEGs to batches of 64 images of 256x128
    python -m benchmarks.loading --pipeline attack        # only resized

The plain kind is torchvision's transforms on one PIL image after the other, in a DataLoader: in the main process,
and with two worker processes. Ours comes with each --cache; what it keeps is there when the clock starts. Both end with
floats in [0, 1]: normalising is the model's first layer.
"""

import multiprocessing
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from benchmarks import measure
from benchmarks.measure import PLAIN, Kind
from reid.datasets import Sample
from reid.loading import ImageStore, augment, to_images
from reid.loading.store import CACHES
from reid.runtime import cli
from reid.runtime.seeds import generator

CPU = torch.device("cpu")


class Files(Dataset):
    """A data set as the released code has it: opened, made RGB and transformed one by one."""

    def __init__(self, paths: list[str], transform: T.Compose) -> None:
        self.paths, self.transform = paths, transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.open(self.paths[index]).convert("RGB"))


def plain(workers: int, pipeline: str, size: tuple[int, int], paths: list[str], order: list[list[int]]) -> measure.Step:
    multiprocessing.current_process().daemon = False  # or it could not start workers
    steps = {
        "training": [
            T.Resize(size),
            T.RandomHorizontalFlip(),
            T.Pad(10),
            T.RandomCrop(size),
            T.ToTensor(),
            T.RandomErasing(0.5, (0.02, 0.4), (0.3, 1 / 0.3), value=augment.IMAGENET_MEAN),
        ],
        "attack": [T.Resize(size), T.ToTensor()],
    }
    files = Files(paths, T.Compose(steps[pipeline]))
    loader = DataLoader(files, batch_sampler=order, num_workers=workers, persistent_workers=workers > 0)

    def step() -> None:
        for _ in loader:
            pass

    return step


def ours(cache: str, pipeline: str, size: tuple[int, int], paths: list[str], order: list[list[int]]) -> measure.Step:
    store = ImageStore([Sample(path, 0, 0) for path in paths], *size, cache=cache)

    def step() -> None:
        for batch, (indices, pixels) in enumerate(store.batches(order)):
            if pipeline == "training":
                drawn = augment.draw(len(indices), size, generator(0, batch))
                augment.usual(pixels, drawn, CPU)
            else:
                to_images(pixels, CPU)

    return step


def draw(folder: Path, count: int) -> list[str]:
    """Files in `folder`/images: smooth random JPEGs of Market-1501's size, about 3 kB each."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    paths = [str(folder / "images" / f"{i:05d}.jpg") for i in range(count)]
    for path in paths:
        small = Image.fromarray(random.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        small.resize((64, 128), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def main() -> None:
    parser = cli.OneLineParser(__doc__, prog="python -m benchmarks.loading")
    parser.add_argument("--pipeline", choices=("training", "attack"), default="training", help="what to make of images")
    parser.add_argument("--batches", type=cli.positive_int, default=16, help="batches of an epoch, the timed step")
    parser.add_argument("--batch_size", type=cli.positive_int, default=64, help="images per batch")
    measure.add_sizes(parser, repeats=5)
    args = parser.parse_args()
    count = args.batches * args.batch_size
    order = np.random.default_rng(1).permutation(count).reshape(args.batches, args.batch_size).tolist()
    with tempfile.TemporaryDirectory() as folder:
        job = (args.pipeline, (args.height, args.width), draw(Path(folder), count), order)
        kinds = {PLAIN: partial(plain, 0, *job), Kind("plain, 2 workers"): partial(plain, 2, *job)}
        kinds |= {Kind(f"ours, cache {cache}"): partial(ours, cache, *job) for cache in CACHES}
        name = f"Loading for {args.pipeline}, {count} images, {args.height} x {args.width}"
        measure.lines(name, kinds, threads=args.threads, repeats=args.repeats)


if __name__ == "__main__":
    cli.run(lambda _: main())
