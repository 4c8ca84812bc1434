"""Files of the families of transformers: from golden files, changed, and run as their authors do."""

import torch
from drawn import drawn_images, drawn_state, read_golden, summary

from reid.models.families import FAMILIES


def family_of(state):
    """The one family of the registry that says the keys are its own."""
    (family,) = [FAMILIES[name]() for name in FAMILIES if FAMILIES[name]().matches(state)]
    return family


def state_of(name):
    """The state dict of a golden file, as its authors save it."""
    return drawn_state(read_golden(name)["keys"])


def features(state, variant="", size=None, count=3):
    """Features of drawn images, normalised as the family says."""
    family = family_of(state)
    network, _ = family.build(state, "file.pth", variant)
    spec = family.input(state, {}, variant)
    with torch.no_grad():
        return network(spec.layer()(drawn_images(*(size or spec.size), count=count)))


def check_golden(name):
    """Ours gives the features of the public implementation, to 1e-5 of the largest of its values."""
    golden = read_golden(name)
    state, wanted = drawn_state(golden["keys"]), golden["features"]
    network, report = family_of(state).build(state, "file.pth", golden.get("variant", ""))
    assert {*report.loaded, *report.unexpected} == {*state}
    assert not report.missing + report.mismatched
    with torch.no_grad():
        ours = summary(network((drawn_images(*golden["size"]) - 0.5) / 0.5))
    assert ours["width"] == wanted["width"]
    for key in ("values", "lengths"):
        theirs = torch.tensor(wanted[key])
        torch.testing.assert_close(torch.tensor(ours[key]), theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


def check_behaviour(name):
    """A batch gives what single images give, the same twice, and gradients of both orders reach the images."""
    state = state_of(name)
    family = family_of(state)
    network, _ = family.build(state, "file.pth")
    images = drawn_images(*family.input(state, {}).size, count=2).requires_grad_()
    batch = network(images)
    torch.testing.assert_close(batch, torch.cat([network(image[None]) for image in images]), rtol=1e-4, atol=1e-4)
    assert torch.equal(batch, network(images))
    (gradient,) = torch.autograd.grad(batch.square().sum(), images, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), images)
    for each in (gradient, second):
        assert each.isfinite().all()
        assert each.abs().flatten(1).max(1).values.gt(0).all()


def without(state, *prefixes):
    return {key: value for key, value in state.items() if not key.startswith(prefixes)}


def renamed(state, old, new):
    return {key.replace(old, new, 1) if key.startswith(old) else key: value for key, value in state.items()}
