"""The best model so far, in one file."""

import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from reid.models.network import Trainable
from reid.models.returned import Returned
from reid.runtime import distributed
from reid.runtime.files import write_atomically
from reid.runtime.snapshot import Run
from reid.training import BEST_FILE

logger = logging.getLogger(__name__)


class Keeper:
    """Keeps the model with the highest score, the latest of equals, in the folder of a run, as `returned` writes it.

    The score is in the released key `best_top1`, whatever it is a mean of. With several processes all know it, and
    rank 0 has the file.
    """

    def __init__(self, run: Run, metadata: Mapping[str, Any], returned: Returned | None = None) -> None:
        self._run, self._metadata, self._returned = run, metadata, returned or Returned()
        self.path = (run.logs_dir / BEST_FILE).with_suffix(self._returned.suffix)
        self.best = -1.0

    def offer(self, model: Trainable, epoch: int, score: float) -> None:
        """Keep `model` after `epoch` epochs if no earlier one has a higher score."""
        if score >= self.best:
            self.best = score
            about = {"epoch": epoch, "best_top1": score, **self._metadata}
            distributed.from_main(lambda: self._returned.write(self.path, model, **about))

    def restore(self, best: float) -> None:
        """Go on from a killed run whose best score was `best`; its file is copied from the folder of its state."""
        if best >= 0:  # else nothing had been kept
            self.best = distributed.from_main(lambda: self._recover(best))

    def _recover(self, best: float) -> float:
        kept = self._run.source.with_name(self.path.name) if self._run.source else self.path
        described = Path(f"{kept}.json"), Path(f"{self.path}.json")
        for there, here in ((kept, self.path), described):
            if there != here and there.exists():
                write_atomically(here, partial(shutil.copy, there))
        if self.path.exists():
            return best
        logger.warning("%s, the best model before the kill, is gone; the best of the epochs to come is kept", kept)
        return self.best
