"""Golden files against our networks: the same keys, the same drawn weights, the same features."""

import torch
from drawn import drawn_images, drawn_state, read_golden, summary

from reid.models.families import FAMILIES


def family_of(state):
    """The one family that says that these keys are its own."""
    (name,) = [name for name in FAMILIES if FAMILIES[name]().matches(state)]
    return name, FAMILIES[name]()


def assert_golden(name, variant="", path="x.pth"):
    """Our network for a golden file gives its features; returns the network and the report of loading."""
    golden = read_golden(name)
    state = drawn_state(golden["keys"])
    told, family = family_of(state)
    assert told == name.partition("-")[0]
    model, report = family.build(state, path, variant)
    spec = family.input(state, {})
    with torch.no_grad():
        ours = summary(model(spec.layer()(drawn_images(*spec.size))))
    assert ours["width"] == golden["features"]["width"]
    for kind in ("lengths", "values"):
        expected = torch.tensor(golden["features"][kind])
        torch.testing.assert_close(
            torch.tensor(ours[kind]), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max())
        )
    return model, report
