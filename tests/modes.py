"""How tests run: the same on every machine, or as the environment says (`bash runTests.sh --modes` goes through these).

REID_TEST_PRECISION  fp32 (the default) or bf16: what `--precision auto` stands for, whatever the processor computes in
REID_TEST_THREADS    threads of torch in each process, 1 unless set
"""

import os

import torch

from reid.runtime import device

PRECISION = os.environ.get("REID_TEST_PRECISION", "fp32")
THREADS = int(os.environ.get("REID_TEST_THREADS", "1"))
if PRECISION not in ("fp32", "bf16"):
    raise ValueError(f"REID_TEST_PRECISION={PRECISION}: fp32 or bf16")


def apply() -> None:
    """Put this process into the mode; whatever starts Python processes in tests calls it in each of them."""
    device._has_fast_bf16 = lambda _: PRECISION == "bf16"
    torch.set_num_threads(THREADS)
