"""Person re-identification under universal attack: datasets, victims, perturbations, meta attack, evaluation."""

from reid import guard

if guard.is_command(__name__):
    guard.end_at_once()

from reid.errors import CheckpointError, DatasetError, ReidError, UsageError

__version__ = "0.1.0"
__all__ = ["CheckpointError", "DatasetError", "ReidError", "UsageError", "__version__"]
