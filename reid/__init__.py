"""Person re-identification under universal attack: datasets, victims, perturbations, meta attack, evaluation."""

from reid.errors import CheckpointError, DatasetError, ReidError, UsageError

__version__ = "0.1.0"
__all__ = ["CheckpointError", "DatasetError", "ReidError", "UsageError", "__version__"]
