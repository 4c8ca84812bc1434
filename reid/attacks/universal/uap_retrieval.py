"""UAP-Retrieval (Li et al., ICCV 2019; theFool32/UAP_retrieval @ 89d0e9b): from the nearest cluster to the farthest.

Published, by MetaAttack's authors: IDE (ResNet-50) on Market-1501, delta 8/255 on queries: mAP 78.2 -> 3.6, rank-1
88.7 -> 4.5. This is its pair-wise loss; there the perturbation is 1024 x 1024 pixels, resized to the images.
"""

from reid.attacks.universal.clusters import ClusterRecipe

UAP_RETRIEVAL = ClusterRecipe(margin=0.8, stretch=10.0)
