"""P x K sampling: every batch holds P identities with K images each (Hermans et al., 2017)."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from reid.errors import UsageError
from reid.runtime import distributed


class PKSampler:
    """Index batches of `batch_size` = P x K, K = `num_instances`, from the pids of a list of samples.

    Identities are dealt from shuffled decks, so that none comes twice in a deck; those that fill no batch wait for
    another deck. An identity with fewer than K images repeats some. Batches depend on (seed, epoch) alone, on every
    process. Raises UsageError for a batch_size that K, P >= 2, the processes or the set (`name`) do not allow.
    """

    def __init__(
        self, pids: Sequence[int], batch_size: int, num_instances: int, seed: int, name: str = "the set"
    ) -> None:
        self.batch_size, self.num_instances, self.seed = batch_size, num_instances, seed
        self.num_pids, processes = batch_size // num_instances, distributed.size()
        self._indices: dict[int, list[int]] = defaultdict(list)
        for index, pid in enumerate(pids):
            self._indices[pid].append(index)
        self._pids = sorted(self._indices)
        batch, problem = f"--batch_size {batch_size} with --num-instances {num_instances}", ""
        if batch_size % num_instances:
            remedy = f"try --batch_size {max(2, self.num_pids) * num_instances}"
            problem = f"--batch_size {batch_size} is not a multiple of --num-instances {num_instances}; {remedy}"
        elif self.num_pids < 2:
            remedy = f"take --batch_size {2 * num_instances} or more, since triplets need two"
            problem = f"{batch} holds one identity only; {remedy}"
        elif self.num_pids % processes:
            problem = f"the {self.num_pids} identities of {batch} cannot be divided among {processes} processes"
            problem += f"; make --batch_size a multiple of {num_instances * processes}"
        elif len(self._pids) < self.num_pids:
            needed = f"a batch of {self.num_pids} identities x {num_instances} images needs {self.num_pids} identities"
            has = f"{name} has {len(self._pids)}, not counting any that are held out for validation"
            problem = f"{needed}, and {has}; lower --batch_size or raise --num-instances"
        if problem:
            raise UsageError(problem)

    @property
    def batches_per_deck(self) -> int:
        """Batches in which an identity appears at most once."""
        return len(self._pids) // self.num_pids

    def epoch(self, epoch: int, batches: int) -> list[list[int]]:
        """Lists of P x K indices, identities in blocks of K."""
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
