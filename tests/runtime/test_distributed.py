"""Several processes that do the job of one: shares, sums and their derivatives, what rank 0 alone does."""

import contextlib
import io
from itertools import chain

import pytest
import torch
from ranks import together

from reid.errors import UsageError
from reid.loading import PKSampler
from reid.runtime import distributed, job


def who():
    return distributed.size(), distributed.rank(), distributed.is_main(), distributed.local_rank()


def shares():
    return distributed.share(list(range(12))), distributed.share(torch.arange(12)), distributed.share([0, 1, 2])


def a_derivative_of_a_sum():
    """The second derivative of (sum over the ranks r of (r + 1) x)^3, in x of each rank, for the whole of it."""
    x = torch.tensor(1.0 + distributed.rank(), dtype=torch.float64, requires_grad=True)
    part = distributed.all_sum((1 + distributed.rank()) * x).pow(3) / distributed.size()
    (first,) = torch.autograd.grad(part, x, create_graph=True)
    (second,) = torch.autograd.grad(first.square(), x)
    return part.item(), first.item(), second.item()


def gathered():
    rows = torch.arange(4.0).view(2, 2).add(10 * distributed.rank()).requires_grad_()
    weights = torch.arange(4.0 * distributed.size()).view(-1, 2)
    whole = distributed.gather(rows)
    (gradient,) = torch.autograd.grad((weights * whole).sum() / distributed.size(), rows)
    return whole.detach(), gradient, distributed.share(weights), distributed.gather(torch.tensor([distributed.rank()]))


def summed():
    tensors = [torch.full((2, 3), 1.0 + distributed.rank()), torch.tensor(10.0 * distributed.rank()), torch.zeros(0)]
    return distributed.summed(tensors), distributed.summed([])


def blocks():
    """Rank r has r blocks of 1, 2, .. rows; rank 0 has none, where there are others."""
    count = distributed.rank() if distributed.size() > 1 else 3
    own = [torch.full((1 + i, 2), 10.0 * distributed.rank() + i) for i in range(count)]
    return distributed.gather_blocks(own, torch.device("cpu"))


def of_every_rank():
    return distributed.every({"rank": distributed.rank()})


def from_main():
    called = []

    def function():
        called.append(distributed.rank())
        return "found by rank 0"

    return distributed.from_main(function), called


def an_error_on_main():
    def fail():
        raise UsageError("no such folder; make it")

    with pytest.raises(UsageError, match="no such folder; make it"):
        distributed.from_main(fail)
    return True


class UnsendableError(Exception):
    """An error that cannot be pickled."""

    def __init__(self, what, where):
        super().__init__(f"{what} in {where}")


def other_errors_on_main():
    """The words of what each process raises where rank 0 meets a full disk, and an error that cannot be sent."""
    lines = []
    for error in (OSError(28, "No space left on device", "/full/state.pth"), UnsendableError("a bug", "here")):

        def fail(error=error):
            raise error

        try:
            distributed.from_main(fail)
        except Exception as error:
            lines.append((type(error), str(error)))
    return lines


def the_same_weights():
    layer = torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        layer.weight.fill_(distributed.rank() + 5.0)
        layer.running_mean.fill_(distributed.rank() + 7.0)
    distributed.same_(layer)
    return layer.weight.tolist(), layer.running_mean.tolist()


def last_lines():
    """What a process prints when all of them fail."""
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        job.report("error: no such dataset")
    return printed.getvalue()


def five_people():
    try:
        PKSampler(range(20), batch_size=10, num_instances=2, seed=0)
    except UsageError as error:
        return str(error)


JOBS = [
    last_lines,
    five_people,
    who,
    shares,
    a_derivative_of_a_sum,
    gathered,
    summed,
    blocks,
    of_every_rank,
    from_main,
    an_error_on_main,
    other_errors_on_main,
    the_same_weights,
]


@pytest.fixture(scope="module", params=[1, 3])
def found(request, tmp_path_factory):
    """found[job][rank], for one process and for three."""
    results = together(request.param, JOBS, tmp_path_factory.mktemp("ranks"))
    return {job: [result[i] for result in results] for i, job in enumerate(JOBS)}


@pytest.fixture
def size(found):
    return len(found[who])


def test_every_process_knows_its_place(found, size):
    assert found[who] == [(size, rank, rank == 0, rank) for rank in range(size)]


def test_shares_follow_each_other_and_make_up_the_whole(found, size):
    lists, tensors, few = zip(*found[shares], strict=True)
    assert [len(part) for part in lists] == [12 // size] * size
    assert list(chain(*lists)) == torch.cat(tensors).tolist() == list(range(12))
    assert list(chain(*few)) == [0, 1, 2]


def test_a_sum_is_its_own_derivative_any_number_of_times(found, size):
    x = torch.arange(1.0, size + 1, dtype=torch.float64, requires_grad=True)
    whole = (x * x.detach()).sum().pow(3)
    (first,) = torch.autograd.grad(whole, x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    parts, firsts, seconds = zip(*found[a_derivative_of_a_sum], strict=True)
    assert sum(parts) == pytest.approx(whole.item())
    assert firsts == pytest.approx(first.tolist())
    assert seconds == pytest.approx(second.tolist())


def test_rows_are_gathered_in_order_of_rank_and_each_gets_its_gradient(found, size):
    for whole, gradient, own_weights, numbers in found[gathered]:
        assert whole[:, 0].tolist() == [10 * rank + first for rank in range(size) for first in (0, 2)]
        assert torch.allclose(gradient, own_weights)
        assert numbers.tolist() == list(range(size))


def test_many_tensors_are_summed_in_one_message(found, size):
    for (matrix, number, empty), nothing in found[summed]:
        assert torch.equal(matrix, torch.full((2, 3), size * (size + 1) / 2))
        assert number.item() == 10 * size * (size - 1) / 2
        assert empty.shape == (0,)
        assert nothing == []


def test_any_number_of_rows_is_gathered(found, size):
    wanted = [0, 1, 1, 2, 2, 2] if size == 1 else [10, 20, 21, 21]
    for rows in found[blocks]:
        assert rows.tolist() == [[value, value] for value in wanted]


def test_plain_values_come_from_every_process(found, size):
    assert found[of_every_rank] == [[{"rank": rank} for rank in range(size)]] * size


def test_rank_0_does_it_and_all_have_what_it_found(found, size):
    assert found[from_main] == [("found by rank 0", [0] if rank == 0 else []) for rank in range(size)]
    assert found[an_error_on_main] == [True] * size


def test_no_error_of_rank_0_leaves_the_others_waiting(found, size):
    full = (OSError, "[Errno 28] No space left on device: '/full/state.pth'")
    others = [full, (RuntimeError, "UnsendableError: a bug in here")]
    assert found[other_errors_on_main] == [[full, (UnsendableError, "a bug in here")]] + [others] * (size - 1)


def test_weights_and_buffers_become_those_of_rank_0(found, size):
    assert found[the_same_weights] == [([5.0, 5.0], [7.0, 7.0])] * size


def test_an_error_of_all_is_reported_by_one(found):
    assert sorted(found[last_lines], reverse=True) == ["error: no such dataset\n"] + [""] * (len(found[last_lines]) - 1)


def test_identities_that_cannot_be_divided_are_refused(found, size):
    wanted = "the 5 identities of --batch_size 10 with --num-instances 2 cannot be divided among 3 processes; make "
    wanted += "--batch_size a multiple of 6"
    assert found[five_people] == [None if size == 1 else wanted] * size


def test_one_process_sends_nothing_and_gets_back_what_it_gave():
    tensor = torch.ones(2, requires_grad=True)
    assert distributed.all_sum(tensor) is distributed.gather(tensor) is tensor
    assert distributed.summed([tensor])[0] is tensor
    assert not torch.distributed.is_initialized()
