import pytest
import torch

from reid import UsageError
from reid.attacks.universal.objectives import pull_farthest


def literal(features, perturbed, pids, margin, weight):
    """The objective word by word: for each anchor, look at all others and keep the farthest of each kind."""
    total = 0.0
    for i, pid in enumerate(pids.tolist()):
        distance = [(features[i] - other).norm().item() for other in features]
        negative = max((j for j in range(len(pids)) if pids[j] != pid), key=lambda j: distance[j])
        positive = max((j for j in range(len(pids)) if pids[j] == pid), key=lambda j: distance[j])
        to_negative = (perturbed[i] - features[negative] + 1e-6).norm()
        to_positive = (perturbed[i] - features[positive] + 1e-6).norm()
        total = total + torch.clamp(margin + to_negative - to_positive, min=0)
    return weight * total / len(pids)


def batch(pids, dim=8):
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(len(pids), dim, generator=generator)
    return features, features + 0.5 * torch.randn(len(pids), dim, generator=generator), torch.tensor(pids)


def test_equals_the_released_code(golden):
    data = golden("losses")
    perturbed = data["perturbed_features"].requires_grad_()
    loss = pull_farthest(data["features"], perturbed, data["pids"])
    loss.backward()
    torch.testing.assert_close(loss.item(), data["attack_loss"].item(), rtol=0, atol=1e-5)
    torch.testing.assert_close(perturbed.grad, data["attack_grad_perturbed"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("margin", "weight"), [(0.5, 10.0), (0.1, 1.0), (2.0, 3.0)])
@pytest.mark.parametrize("pids", [[0, 0, 1, 1, 2, 2], [7, 3, 7, 7, 9, 3, 3], [0, 1]])
def test_equals_the_literal_definition(pids, margin, weight):
    features, perturbed, pids = batch(pids)
    loss = pull_farthest(features, perturbed, pids, margin, weight)
    assert loss.item() == pytest.approx(literal(features, perturbed, pids, margin, weight).item(), abs=1e-5)


def test_the_farthest_are_the_farthest_where_features_lie_close_together():
    features, perturbed, _ = batch(range(40), dim=64)
    features = 50 * torch.nn.functional.normalize(torch.ones(1, 64)) + 1e-3 * features
    pids = torch.arange(40) // 4
    loss = pull_farthest(features, 10 * perturbed, pids)
    exact = literal(features.double(), 10 * perturbed.double(), pids, 0.5, 10.0)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-4)


def test_descending_it_turns_the_neighbourhood_inside_out():
    features, _, pids = batch([0] * 4 + [1] * 4)
    perturbed = features.clone().requires_grad_()
    for _ in range(400):
        (gradient,) = torch.autograd.grad(pull_farthest(features, perturbed, pids), perturbed)
        perturbed = (perturbed - 0.05 * gradient).detach().requires_grad_()
    distances = torch.cdist(perturbed.detach(), features)
    same = pids[:, None] == pids[None, :]
    farthest_positive = torch.cdist(features, features).masked_fill(~same, -1).argmax(1)
    farthest_negative = torch.cdist(features, features).masked_fill(same, -1).argmax(1)
    rows = torch.arange(len(pids))
    assert (distances[rows, farthest_negative] < distances[rows, farthest_positive]).all()


def test_clean_features_get_no_gradient():
    features, perturbed, pids = batch([0, 0, 1, 1])
    features.requires_grad_()
    pull_farthest(features, perturbed.requires_grad_(), pids).backward()
    assert features.grad is None


def test_half_precision_features_are_compared_in_float32():
    features, perturbed, pids = batch([0, 0, 1, 1])
    loss = pull_farthest(features.bfloat16(), perturbed.bfloat16(), pids)
    assert loss.dtype == torch.float32
    assert loss.item() == pull_farthest(features.bfloat16().float(), perturbed.bfloat16().float(), pids).item()


def test_a_batch_of_one_identity_is_refused():
    with pytest.raises(UsageError, match="two identities"):
        pull_farthest(*batch([5, 5, 5]))
