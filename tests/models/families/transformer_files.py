"""Files of the families of transformers: from golden files, changed, and run as their authors do."""

import torch
from damage import harmful, harmless
from drawn import drawn_images, drawn_state, read_golden
from golden import assert_golden, family_of

from reid.errors import ReidError


def state_of(name):
    """The state dict of a golden file, as its authors save it."""
    return drawn_state(read_golden(name)["keys"])


def features(state, variant="", count=3):
    """Features of drawn images of the size, and normalised, as the family says."""
    _, family = family_of(state)
    network, _ = family.build(state, "file.pth", variant)
    spec = family.input(state, {}, variant)
    with torch.no_grad():
        return network(spec.layer()(drawn_images(*spec.size, count=count)))


def check_golden(name):
    """Ours gives the features of the public implementation, and reports all keys of the file."""
    golden = read_golden(name)
    _, report = assert_golden(name, golden.get("variant", ""))
    assert {*report.loaded, *report.unexpected} == {*golden["keys"]}
    assert not report.missing + report.mismatched


def check_behaviour(name):
    """A batch gives what single images give, the same twice, and gradients of both orders reach the images."""
    state = state_of(name)
    _, family = family_of(state)
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


def check_damages(name, head):
    """Files with one damage each are refused in one line, named by other variants, or loaded right."""
    whole = state_of(name)
    network, _ = family_of(whole)[1].build(whole, "file.pth")
    needed = [key for key in network.state_dict() if not key.endswith("num_batches_tracked")]
    lost = {f"{key} lost": whole | {key: torch.full(whole[key].shape, torch.nan)} for key in needed[::40]}
    many = [kind for kind in harmful(whole, needed) if kind.endswith(("emptied", "a number"))]
    spared = {kind for place, kind in enumerate(many) if place % 10}
    harm = {kind: state for kind, state in harmful(whole, needed).items() if kind not in spared}
    damages = harmless(whole, head) | harm | lost
    outcomes = {kind: _outcome(whole, network.state_dict(), state) for kind, state in damages.items()}
    assert len(outcomes) >= 60
    silent = [kind for kind, outcome in outcomes.items() if outcome == "silent"]
    assert not silent, silent
    assert {outcomes[kind] for kind in harmless(whole, head)} == {"right"}
    assert {outcomes[kind] for kind in lost} == {"refused"}


def _outcome(whole, wanted, state):
    _, family = family_of(whole)
    if not family.matches(state):
        return "refused"  # or of another family
    try:
        loaded = family.build(state, "file.pth")[0].state_dict()
    except ReidError as error:
        return "refused" if "\n" not in str(error) and len(str(error)) <= 512 else "silent"
    if family.variants(state, {}) != family.variants(whole, {}):
        return "named"
    same = loaded.keys() == wanted.keys()
    return "right" if same and all(torch.allclose(loaded[key], wanted[key], atol=1e-2) for key in wanted) else "silent"
