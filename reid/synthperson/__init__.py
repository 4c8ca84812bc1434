"""Synthetic people: pedestrian crops drawn by a program, seeded, in the raw Market-1501 layout.

Four datasets: synth-a (a summer campus) and synth-b (a winter city) have other cameras, backgrounds and clothes, so
there is a gap between them; synth-virtual looks rendered and shows people from every side; synth-wide, to train on, has
cameras of many places and people who wear anything. From bottom to top:
`styles` says what people wear where, `wardrobe` who a person is, `fabric` how cloth and skin are painted, `canvas`
draws a lit tube, `pose` bends the joints, `figure` and `head` make a person of tubes, `panorama` is what a camera looks
at, `scene` the camera, `occlusion` what is in the way, `render` one image, `generate` a dataset, `sheet` a picture.
"""

from reid.synthperson.generate import DEFAULTS, generate
from reid.synthperson.sheet import contact_sheet

__all__ = ["DEFAULTS", "contact_sheet", "generate"]
