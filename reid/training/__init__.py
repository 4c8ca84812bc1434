"""The trainer that all defences share: sets, batches, losses, adversaries, the step of the weights, selection.

Nothing is imported here, so that names and options can be listed without torch.
"""

LOSSES = ("triplet+ce", "triplet")
