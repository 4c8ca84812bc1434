"""The best model so far, in one file."""

import logging
import shutil
from collections.abc import Mapping
from typing import Any

from reid.models import save_checkpoint
from reid.models.network import ReidModel
from reid.runtime import distributed
from reid.runtime.files import write_atomically
from reid.runtime.snapshot import Run
from reid.training import BEST_FILE

logger = logging.getLogger(__name__)


class Keeper:
    """Keeps the model with the highest score, the latest of equals, in the folder of a run; released envelope.

    The score is in the released key `best_top1`, whatever it is a mean of. With several processes all know it, and
    rank 0 has the file.
    """

    def __init__(self, run: Run, metadata: Mapping[str, Any]) -> None:
        self._run, self._metadata = run, metadata
        self.path = run.logs_dir / BEST_FILE
        self.best = -1.0

    def offer(self, model: ReidModel, epoch: int, score: float) -> None:
        """Keep `model` after `epoch` epochs if no earlier one has a higher score."""
        if score >= self.best:
            self.best = score
            if distributed.is_main():
                save_checkpoint(self.path, model, epoch=epoch, best_top1=score, **self._metadata)

    def restore(self, best: float) -> None:
        """Go on from a killed run whose best score was `best`; its file is copied from the folder of its state."""
        if best >= 0:  # else nothing had been kept
            self.best = distributed.from_main(lambda: self._recover(best))

    def _recover(self, best: float) -> float:
        kept = self._run.source.with_name(BEST_FILE) if self._run.source else self.path
        if kept != self.path and kept.exists():
            write_atomically(self.path, lambda path: shutil.copy(kept, path))
        if self.path.exists():
            return best
        logger.warning("%s, the best model before the kill, is gone; the best of the epochs to come is kept", kept)
        return self.best
