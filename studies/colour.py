"""A plugin: the suite `colour`, which spends the same total on colour and delta, and on each alone."""

from reid.evaluation.suites import SUITES, Suite, Universal

ENTRIES = tuple(Universal("nearest", "query", alone=alone) for alone in ("", "delta", "color"))
SUITES.register("colour", "nearest by colour and delta, and by each alone at the same total")(
    Suite(ENTRIES, controls=False)
)
