"""P x K sampling: every batch holds P identities with K images each (Hermans et al., 2017)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from reid.errors import UsageError
from reid.runtime import distributed


class PKSampler:
    """Index batches of `batch_size` = P x K from the pids of a list of samples.

    Identities are dealt from shuffled decks, so that none comes twice in a deck; those that do not fill a last batch
    wait for another deck. An identity with fewer than K images repeats some. The batches of an epoch depend on
    (seed, epoch) alone, on every process. Raises UsageError when batch_size is no multiple of K = num_instances, or
    the set (called `name` in the message) has fewer than P identities, or P cannot be divided among the processes.
    """

    def __init__(
        self, pids: Sequence[int], batch_size: int, num_instances: int, seed: int, name: str = "the set"
    ) -> None:
        if batch_size % num_instances:
            nearest = max(2, batch_size // num_instances) * num_instances
            problem = f"--batch_size {batch_size} is not a multiple of --num-instances {num_instances}"
            raise UsageError(f"{problem}; try --batch_size {nearest}")
        self.batch_size, self.num_instances, self.seed = batch_size, num_instances, seed
        self.num_pids, processes = batch_size // num_instances, distributed.size()
        batch = f"--batch_size {batch_size} with --num-instances {num_instances}"
        if self.num_pids < 2:
            remedy = f"take --batch_size {2 * num_instances} or more, since triplets need two"
            raise UsageError(f"{batch} holds one identity only; {remedy}")
        if self.num_pids % processes:
            problem = f"the {self.num_pids} identities of {batch} cannot be divided among {processes} processes"
            raise UsageError(f"{problem}; make --batch_size a multiple of {num_instances * processes}")
        self._indices: dict[int, list[int]] = defaultdict(list)
        for index, pid in enumerate(pids):
            self._indices[pid].append(index)
        self._pids = sorted(self._indices)
        if len(self._pids) < self.num_pids:
            problem = f"a batch of {self.num_pids} identities x {num_instances} images needs {self.num_pids} identities"
            raise UsageError(
                f"{problem}, and {name} has {len(self._pids)}; lower --batch_size or raise --num-instances"
            )

    @property
    def batches_per_deck(self) -> int:
        """Batches in which every identity appears once (the remainder that fills no batch left out)."""
        return len(self._pids) // self.num_pids

    def epoch(self, epoch: int, batches: int) -> list[list[int]]:
        """The `batches` index lists of `epoch`, each of length P x K, identities in blocks of K."""
        random = np.random.default_rng([self.seed, epoch])
        deck: list[int] = []
        result = []
        for _ in range(batches):
            if len(deck) < self.num_pids:
                deck = [self._pids[i] for i in random.permutation(len(self._pids))]
            dealt, deck = deck[: self.num_pids], deck[self.num_pids :]
            result.append([index for pid in dealt for index in self._instances(pid, random)])
        return result

    def _instances(self, pid: int, random: np.random.Generator) -> list[int]:
        own = self._indices[pid]
        chosen = random.permutation(len(own))[: self.num_instances]
        extra = random.integers(len(own), size=self.num_instances - len(chosen))
        return [own[i] for i in (*chosen, *extra)]
