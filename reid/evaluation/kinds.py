"""The kinds of attacks in results. Without torch, as all that reads results."""

KINDS = ("clean", "universal", "relearnt", "image", "transfer", "search", "control", "external")
CLEAN, UNIVERSAL, RELEARNT, IMAGE, TRANSFER, SEARCH, CONTROL, EXTERNAL = KINDS
