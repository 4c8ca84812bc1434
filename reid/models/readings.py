"""The usual ways to prepare images for a re-ID network, by name. Without torch."""

Channels = tuple[float, float, float]

IMAGENET_MEAN: Channels = (0.485, 0.456, 0.406)
IMAGENET_STD: Channels = (0.229, 0.224, 0.225)
NONE: Channels = (0.0, 0.0, 0.0)
HALF: Channels = (0.5, 0.5, 0.5)
ONE: Channels = (1.0, 1.0, 1.0)
CAFFE: Channels = (103.939, 116.779, 123.68)

DISTANCES = ("euclidean", "cosine")  # between features
AUTO, OWN = "auto", "own"  # tried on images; as the file states it, or its family's
PREPROCESSINGS: dict[str, tuple[str, float, Channels, Channels]] = {  # channels, scale, mean and std
    "imagenet": ("rgb", 1.0, IMAGENET_MEAN, IMAGENET_STD),
    "imagenet-bgr": ("bgr", 1.0, IMAGENET_MEAN[::-1], IMAGENET_STD[::-1]),
    "half": ("rgb", 1.0, HALF, HALF),
    "half-bgr": ("bgr", 1.0, HALF, HALF),
    "unit": ("rgb", 1.0, NONE, ONE),
    "unit-bgr": ("bgr", 1.0, NONE, ONE),
    "255": ("rgb", 255.0, NONE, ONE),
    "255-bgr": ("bgr", 255.0, NONE, ONE),
    "caffe": ("bgr", 255.0, CAFFE, ONE),
}
