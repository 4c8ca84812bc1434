"""MetaAttack (Yang et al., AAAI 2021; FlyingRoastDuck/MetaAttack_AAAI21 @ 364d1da): clusters, labels and look-ahead.

Published: IDE (ResNet-50) on Market-1501, delta 8/255 on queries: mAP 78.2 -> 3.1, rank-1 88.7 -> 3.4. There the
classifier of clusters is learnt; here it is the nearest centre.
"""

from reid.attacks.universal.clusters import ClusterRecipe

METAATTACK = ClusterRecipe(meta="maml", weight=10.0, labelled=True)
