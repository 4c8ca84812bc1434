"""The data that this project renders itself: demonstration and tests need no download."""

from pathlib import Path

from reid.datasets.base import Release
from reid.datasets.market_style import MARKET_FOLDERS, MarketStyle


class Synth(MarketStyle):
    """People drawn by `reid.synthperson`, in the raw layout of Market-1501.

    No paper and no expected counts: sizes are options of the generator. synth-a and synth-b stand for two real datasets
    with their own cameras, synth-virtual for a virtual one.
    """

    releases = (Release("synthperson", MARKET_FOLDERS),)

    def remedy(self, root: Path) -> str:
        return f"make it with: python -m reid.synthperson {self.name} --root {root}"
