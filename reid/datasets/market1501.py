"""Market-1501."""

from reid.datasets.base import Count, Release
from reid.datasets.market_style import MARKET_FOLDERS, MarketStyle


class Market1501(MarketStyle):
    """Market-1501: 1,501 people in front of a supermarket, six cameras, boxes from a detector.

    Paper: Zheng et al., Scalable Person Re-identification: A Benchmark, ICCV 2015. Archive: Market-1501-v15.09.15.zip,
    linked from the authors' project page. Training has 751 identities, test 750 others and 2,798 distractor images of
    pid 0, which are kept; the 3,819 junk images of pid -1 are left out. The folders gt_bbox, gt_query and images
    (500,000 extra distractors) are not used.
    """

    aliases = ("market", "Market-1501-v15.09.15")
    archive = "Market-1501-v15.09.15.zip"
    releases = (
        Release(
            "Market-1501-v15.09.15",
            MARKET_FOLDERS,
            cameras=(1, 2, 3, 4, 5, 6),
            expected={
                "trainval": Count(751, 12_936, (2017, 1709, 2707, 920, 2338, 3245)),
                "query": Count(750, 3_368, (668, 530, 717, 248, 622, 583)),
                "gallery": Count(751, 15_913, (2738, 2224, 3199, 1365, 2762, 3625)),
            },
        ),
    )
