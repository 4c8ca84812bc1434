"""`python million.py DATASET COUNT ROOT FIRST`: load a set of so many images, of which only the names exist.

People are numbered from FIRST. Prints the number of images, seconds of the processor, and peak memory in GB.
"""

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from reid import datasets
from reid.datasets import picture
from reid.datasets.source import Folder

IMAGES_OF_A_PERSON = 40


class Entry:
    """A file, as os.scandir has it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def is_file(self) -> bool:
        return True

    def is_dir(self) -> bool:
        return False

    is_symlink = is_dir


def invent(top: str, count: int, first: int) -> None:
    """From now on, the folders of Market-1501 below `top` list `count` images, and their conversion copies nothing."""
    scandir, listdir = os.scandir, os.listdir
    test, converted = first + count, os.path.join(os.path.dirname(top), "converted.txt")
    parts = {
        "bounding_box_train": (first, count // 2),
        "bounding_box_test": (test, count // 2 - 10),
        "query": (test, 10),
    }
    for part in parts:
        os.makedirs(os.path.join(top, part), exist_ok=True)

    def entries(pid: int, images: int) -> Iterator[Entry]:
        for i in range(images):
            yield Entry(f"{pid + i // IMAGES_OF_A_PERSON}_c{i % 6 + 1}s1_{i:09d}_00.jpg")

    def fetch(self: Folder, targets: dict) -> Iterator[str]:
        with open(converted, "w") as file:
            file.writelines(f"{target.name}\n" for target in targets.values())
        return iter(targets)

    def lines(_: object) -> list[str]:
        with open(converted) as file:
            return file.read().split()

    names = {os.path.join(top, part): numbers for part, numbers in parts.items()}
    os.scandir = lambda path: entries(*names[str(path)]) if str(path) in names else scandir(path)
    os.listdir = lambda path: lines(path) if str(path).endswith("market1501/images") else listdir(path)
    Folder.fetch, picture.check = fetch, lambda *_: None


if __name__ == "__main__":
    name, count, root, first = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    invent(root if name == "folder" else os.path.join(root, name, "raw"), count, first)
    began = time.process_time()
    data = datasets.create(name, root)
    seconds = time.process_time() - began
    (memory,) = re.findall(
        r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()
    )  # not inherited, as ru_maxrss is
    print(len(data.trainval + data.gallery + data.query), seconds, int(memory) / 1e6)
