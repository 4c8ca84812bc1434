"""Files of the families of transformers: from golden files, changed, and run as their authors do."""

import random

import torch
from drawn import drawn_images, drawn_state, read_golden, summary

from reid.errors import ReidError
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


DAMAGES = {
    "a tensor is missing": lambda state, key: without(state, key),
    "a block is missing": lambda state, key: without(state, key.rpartition(".")[0]),
    "more is missing": lambda state, key: without(state, ".".join(key.split(".")[:3])),
    "a row is missing": lambda state, key: state | {key: state[key].reshape(-1)[1:]},
    "a dimension too many": lambda state, key: state | {key: state[key][None]},
    "a number": lambda state, key: state | {key: torch.tensor(1.0)},
    "nothing": lambda state, key: state | {key: torch.empty(0)},
    "whole numbers": lambda state, key: state | {key: state[key].long()},
    "truth values": lambda state, key: state | {key: state[key] > 0},
    "complex numbers": lambda state, key: state | {key: state[key].to(torch.complex64)},
    "no numbers": lambda state, key: state | {key: torch.full(state[key].shape, torch.nan)},
    "another name": lambda state, key: renamed(state, key, f"{key}_"),
    "a tensor too many": lambda state, key: state | {f"{key.partition('.')[0]}.more.{key}": state[key]},
    "another prefix": lambda state, key: renamed(state, key.split(".")[0], f"model.{key.split('.')[0]}"),
    "half precision": lambda state, key: {name: value.half() for name, value in state.items()},
}


def check_damages(name, count=60):
    """Files with one damage each: not of the family, refused in one line, named by other variants, or loaded right."""
    chance, whole = random.Random(0), state_of(name)
    network, _ = family_of(whole).build(whole, "file.pth")
    for number in range(count):
        kind, key = [*DAMAGES][number % len(DAMAGES)], chance.choice([*whole])
        assert _outcome(whole, network.state_dict(), DAMAGES[kind](dict(whole), key)) != "silent", f"{kind}: {key}"


def _outcome(whole, wanted, state):
    family = family_of(whole)
    if not family.matches(state):
        return "not its own"
    try:
        loaded = family.build(state, "file.pth")[0].state_dict()
    except ReidError as error:
        return "refused" if "\n" not in str(error) and len(str(error)) <= 512 else "silent"
    if family.variants(state, {}) != family.variants(whole, {}):
        return "named"
    same = loaded.keys() == wanted.keys()
    return "right" if same and all(torch.allclose(loaded[key], wanted[key], atol=1e-2) for key in wanted) else "silent"
