"""Writes a synthetic dataset in the raw Market-1501 layout, the same bytes for the same settings."""

import contextlib
import json
import os
import shutil
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock

from reid.errors import DatasetError, UsageError
from reid.runtime.progress import progress
from reid.synthperson.render import render
from reid.synthperson.scene import SITES

MARKET = "Market-1501-v15.09.15"
SETTINGS = "settings.json"
DRAWING = 2  # raise it with every change of what is drawn: a folder of an older drawing is then not taken for this one
TRAIN, TEST, QUERY = "bounding_box_train", "bounding_box_test", "query"
MAX_PID = 999_999
MAX_CAMS = 99


class Sizes(NamedTuple):
    """Training identities, test identities, cameras, and images of each person in each camera."""

    ids: int
    test_ids: int
    cams: int
    per_cam: int


DEFAULTS = {
    "synth-a": Sizes(80, 50, 4, 3),
    "synth-b": Sizes(80, 50, 4, 3),
    "synth-virtual": Sizes(80, 4, 6, 2),
    "synth-wide": Sizes(80, 4, 12, 2),
}


class Shot(NamedTuple):
    """One image: the folder that it goes to, and what `render` needs to draw it."""

    folder: str
    pid: int
    cam: int
    number: int

    @property
    def file_name(self) -> str:
        pid = "-1" if self.pid < 0 else f"{self.pid:04d}"
        return f"{pid}_c{self.cam + 1}s1_{self.number:06d}_01.jpg"


def generate(
    name: str,
    raw_dir: str | Path,
    ids: int | None = None,
    cams: int | None = None,
    per_cam: int | None = None,
    height: int = 128,
    width: int = 64,
    seed: int = 0,
    test_ids: int | None = None,
    workers: int | None = None,
) -> bool:
    """Draw the dataset `name`, one of DEFAULTS, into `raw_dir`/Market-1501-v15.09.15.

    Sizes that are None are those of DEFAULTS. Training people are pids 1 to `ids`, test people follow; each test
    person asks once per camera. A few false boxes (pid 0) and bad boxes (pid -1) are among the test images, as in
    Market-1501. Every image depends on (name, seed, pid, camera, number) alone: `workers` changes only the time.
    The folder appears whole or not at all. Returns False when it is there already with the same settings. Raises
    UsageError for a bad number or name, DatasetError when the folder holds something else.
    """
    sizes = _sizes(name, {"ids": ids, "test_ids": test_ids, "cams": cams, "per_cam": per_cam})
    _at_least("height", height, 16)
    _at_least("width", width, 8)
    _at_least("seed", seed, 0)
    settings = {"name": name, "drawing": DRAWING, **sizes._asdict(), "height": height, "width": width, "seed": seed}
    raw_dir = Path(raw_dir)
    raw_dir.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(raw_dir.with_name(f".{raw_dir.name}.lock")):
        if raw_dir.exists():
            _check_same(raw_dir, settings)
            return False
        with _whole_or_not_at_all(raw_dir) as part:
            draw = partial(_draw, name, seed, height, width, str(part / MARKET))
            _draw_all(draw, list(plan(sizes)), part, f"drawing {name}, image", workers)
            (part / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")
    return True


def plan(sizes: Sizes) -> Iterator[Shot]:
    """All images of a dataset of these sizes."""
    for pid in range(1, sizes.ids + sizes.test_ids + 1):
        for cam in range(sizes.cams):
            for index in range(sizes.per_cam):
                test = QUERY if index == 0 else TEST
                yield Shot(TRAIN if pid <= sizes.ids else test, pid, cam, index)
    for pid in (0, -1):
        for index in range(-(-sizes.test_ids // 4)):
            yield Shot(TEST, pid, index % sizes.cams, index)


@contextlib.contextmanager
def _whole_or_not_at_all(raw_dir: Path) -> Iterator[Path]:
    """A fresh folder beside `raw_dir` that is renamed to it at the end; those of killed runs are removed.

    Its name is new each time, because workers of a run just killed may still be writing into the last one.
    """
    for stale in raw_dir.parent.glob(f".{raw_dir.name}.*.part"):
        shutil.rmtree(stale, ignore_errors=True)
    part = raw_dir.with_name(f".{raw_dir.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        os.rename(part, raw_dir)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _draw_all(draw: Callable[[Shot], None], shots: list[Shot], part: Path, title: str, workers: int | None) -> None:
    for folder in (TRAIN, TEST, QUERY):
        (part / MARKET / folder).mkdir(parents=True)
    workers = min(workers or os.cpu_count() or 1, 61)  # as many as Windows can wait for
    with ProcessPoolExecutor(workers, initializer=_die_with_parent) as pool:
        done = pool.map(draw, shots, chunksize=16)
        for _ in progress(done, len(shots), title):
            pass


def _die_with_parent() -> None:
    """End this worker when its parent ends: a killed parent cannot tell it to, and it would wait for work for ever.
    Ctrl-C, which reaches all processes of a terminal, is for the parent alone to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _draw(name: str, seed: int, height: int, width: int, home: str, shot: Shot) -> None:
    picture = render(name, seed, shot.pid, shot.cam, shot.number, height, width)
    Path(home, shot.folder, shot.file_name).write_bytes(picture)


def _sizes(name: str, given: dict[str, int | None]) -> Sizes:
    if name not in SITES:
        raise UsageError(f"no synthetic dataset is called {name!r}; choose one of {', '.join(SITES)}")
    sizes = DEFAULTS[name]._replace(**{key: value for key, value in given.items() if value is not None})
    _at_least("ids", sizes.ids, 1)
    _at_least("test_ids", sizes.test_ids, 1)
    _at_least("cams", sizes.cams, 2)
    _at_least("per_cam", sizes.per_cam, 2)
    if sizes.ids + sizes.test_ids > MAX_PID or sizes.cams > MAX_CAMS:
        raise UsageError(f"at most {MAX_PID:,} people and {MAX_CAMS} cameras fit the file names; ask for fewer")
    return sizes


def _at_least(option: str, value: int, least: int) -> None:
    if value < least:
        raise UsageError(f"--{option.replace('_', '-')} {value} is too small; give at least {least}")


def _check_same(raw_dir: Path, settings: dict[str, object]) -> None:
    try:
        found = json.loads((raw_dir / SETTINGS).read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(
            f"{raw_dir} is there and was not drawn by this program; move it away, or choose another --root"
        ) from error
    if found != settings:
        changes = ", ".join(f"{key} {found.get(key)}" for key in settings if found.get(key) != settings[key])
        raise DatasetError(
            f"{raw_dir} is there with other settings ({changes}); remove {raw_dir.parent}, or choose another --root"
        )
