"""What a run leaves behind: a log file, one JSON line per epoch, TensorBoard scalars and images."""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from reid.errors import UsageError
from reid.runtime import job
from reid.runtime.files import write_atomically

logger = logging.getLogger(__name__)


class RunLog:
    """Logs of one run in `folder`: `log.txt`, `metrics.jsonl`, and TensorBoard event files; only rank 0 writes.

    `first_epoch` is where this process starts; later lines of an earlier process that was killed are dropped.
    """

    def __init__(self, folder: str | Path, first_epoch: int = 0) -> None:
        if not job.is_main():
            return
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self._metrics = folder / "metrics.jsonl"
        kept = self._metrics.read_text().splitlines(keepends=True)[:first_epoch] if self._metrics.exists() else []
        write_atomically(self._metrics, lambda path: path.write_text("".join(kept)))
        try:
            self._board = SummaryWriter(str(folder), purge_step=first_epoch)
        except UnicodeEncodeError as error:
            raise UsageError(f"{folder}: TensorBoard needs a folder whose name is UTF-8; give another") from error
        self._file = logging.FileHandler(folder / "log.txt", encoding="utf-8", errors="backslashreplace")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logging.getLogger().addHandler(self._file)

    def epoch(self, epoch: int, **values: Any) -> None:
        """Record the numbers of one finished epoch (0-based) everywhere."""
        with open(self._metrics, "a") as file:
            file.write(json.dumps({"epoch": epoch, **values}) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, value, epoch)
        logger.info("epoch %d  %s", epoch + 1, "  ".join(f"{name} {value:.4g}" for name, value in values.items()))

    def images(self, name: str, images: torch.Tensor, epoch: int) -> None:
        """Show images (N, 3, H, W) in [0, 1] in TensorBoard."""
        if job.is_main():
            self._board.add_images(name, images.clamp(0, 1), epoch)

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(self, *error: object) -> None:
        if job.is_main():
            self._board.close()
            logging.getLogger().removeHandler(self._file)
            self._file.close()
