"""What is trained: which statistics a pass uses and updates, and the head that is thrown away."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from reid import models
from reid.training.network import TrainedNetwork, is_backbone


@pytest.fixture
def network(small):
    return TrainedNetwork(small, num_virtual=4)


def buffers(network):
    return {name: value.clone() for name, value in network.named_buffers()}


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


class TestBatchNorm:
    def test_a_pass_in_training_normalises_with_the_statistics_of_its_batch(self, network, clean):
        """Not with the running ones: the outputs of the first layer have mean 0 and variance 1 over the batch."""
        seen = []
        network.model.base.bn1.register_forward_hook(lambda *call: seen.append(call[-1].detach().clone()))
        for virtual in (False, True):
            network.at(network.weights(), clean, virtual)
        for output in seen:
            assert torch.allclose(output.mean((0, 2, 3)), torch.zeros(64), atol=1e-5)
            assert torch.allclose(output.var((0, 2, 3), correction=0), torch.ones(64), atol=1e-3)

    def test_training_differs_from_inference(self, network, clean):
        training = network.at(network.weights(), clean, False)[0]
        network.eval()
        assert not torch.allclose(network.at(network.weights(), clean, False)[0], training, rtol=0.1)

    def test_a_source_pass_updates_the_running_statistics_once(self, network, clean):
        base = network.model.base
        with torch.no_grad():
            expected = 0.1 * base.conv1(network.model.normalise(clean)).mean((0, 2, 3))
        network.at(network.weights(), clean, False)
        assert torch.allclose(base.bn1.running_mean, expected, atol=1e-6)
        counts = [value.item() for name, value in network.named_buffers() if name.endswith("num_batches_tracked")]
        assert counts == [1] * len(counts)

    def test_a_virtual_pass_leaves_them_bitwise_as_they_are(self, network, clean):
        network.at(network.weights(), clean, False)
        before = buffers(network)
        network.at(network.weights(), clean, True)
        assert same(buffers(network), before)

    def test_a_pass_with_moved_virtual_weights_leaves_them_and_the_live_weights(self, network, clean):
        """The look ahead of the meta-learned defence."""
        before, live = buffers(network), {name: value.detach().clone() for name, value in network.weights().items()}
        moved = {name: value + 0.01 for name, value in network.weights().items()}
        features, _ = network.at(moved, clean, True)
        assert same(buffers(network), before)
        assert same(network.weights(), live)
        assert not torch.allclose(features, network.at(network.weights(), clean, True)[0])


class TestHeads:
    def test_each_set_has_its_own(self, network, clean):
        _, real = network.at(network.weights(), clean, False)
        features, virtual = network.at(network.weights(), clean, True)
        assert (real.shape, virtual.shape, features.shape) == ((8, 5), (8, 4), (8, 512))

    def test_in_inference_the_features_do_not_depend_on_the_head(self, network, clean):
        network.eval()
        assert torch.equal(network(clean)[0], network(clean, virtual=True)[0])
        assert all(torch.equal(*pair) for pair in zip(network(clean), network.model(clean), strict=True))

    def test_cross_entropy_on_virtual_images_teaches_the_body_and_the_virtual_head_alone(self, network, clean):
        weights = network.weights()
        _, logits = network.at(weights, clean, True)
        loss = cross_entropy(logits, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
        found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        gradients = dict(zip(weights, found, strict=True))
        without = {name for name, gradient in gradients.items() if gradient is None}
        assert without == {"model.classifier_x2.weight", "model.classifier_x2.bias"}
        assert gradients["virtual_head.weight"].abs().max() > 0
        assert gradients["model.base.conv1.weight"].abs().max() > 0

    def test_the_virtual_one_is_not_part_of_the_model(self, network, small_once):
        assert list(network.model.state_dict()) == list(small_once.state_dict())
        assert {"virtual_head.weight", "virtual_head.bias"} <= set(network.state_dict())

    def test_the_virtual_one_follows_from_the_seed_alone(self, small):
        first, again, other = (TrainedNetwork(small, 4, seed).virtual_head.weight for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.std().item() == pytest.approx(0.001, rel=0.1)

    def test_without_virtual_identities_there_is_none(self, small, clean):
        network = TrainedNetwork(small)
        assert not any("virtual" in name for name in network.state_dict())
        with pytest.raises(ValueError, match="no head for virtual identities"):
            network(clean, virtual=True)


class TestWeights:
    def test_are_all_that_training_changes(self, network):
        names = set(network.weights())
        assert names == {name for name, p in network.named_parameters() if not name.startswith("model.base.fc.")}

    def test_what_re_id_added_to_the_backbone_learns_three_times_as_fast(self, network):
        body, new = network.groups(2e-4, 3.0)
        assert [group["lr"] for group in (body, new)] == pytest.approx([2e-4, 6e-4])
        assert [group["factor"] for group in (body, new)] == [1.0, 3.0]
        named = {parameter: name for name, parameter in network.named_parameters()}
        assert {named[p].rsplit(".", 1)[0] for p in new["params"]} == {
            "model.feat",
            "model.feat_bn",
            "model.classifier_x2",
            "virtual_head",
        }
        assert all(named[p].startswith("model.base.") for p in body["params"])
        assert len(body["params"]) + len(new["params"]) == len(network.weights())

    def test_the_head_of_res_meta_is_new_and_its_stem_is_not(self):
        with torch.device("meta"):
            names = TrainedNetwork(models.create("resMeta", 3), 0).weights()
        new = [name for name in names if not is_backbone(name)]
        assert new == [
            "model.feat.weight",
            "model.feat_bn.weight",
            "model.feat_bn.bias",
            "model.classifier.weight",
            "model.classifier.bias",
        ]
