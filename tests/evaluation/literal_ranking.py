"""The ranking protocol, word by word: sort the whole gallery for every query, in Python."""

import itertools

import numpy as np


def literal_distances(query, gallery):
    """Squared Euclidean distances in float64."""
    return ((query[:, None].astype(np.float64) - gallery[None].astype(np.float64)) ** 2).sum(axis=2)


def literal_ranking(distances, query_pids, gallery_pids, query_camids, gallery_camids, topk=100):
    """mAP, mINP, the two deterministic CMC curves, number of valid queries, and AP and first rank of each."""
    precisions, inverse_penalties, first_ranks = [], [], []
    hits = {"market1501": np.zeros(topk), "allshots": np.zeros(topk)}
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        kept = [j for j in range(len(row)) if gallery_pids[j] != -1]
        kept = [j for j in kept if not (gallery_pids[j] == pid and gallery_camids[j] == camid)]
        kept.sort(key=lambda j: row[j])  # stable: equal distances stay in the order of the gallery
        ranks = [place for place, j in enumerate(kept, start=1) if gallery_pids[j] == pid]
        if not ranks:
            continue
        precisions.append(np.mean([(hit + 1) / place for hit, place in enumerate(ranks)]))
        inverse_penalties.append(len(ranks) / ranks[-1])
        first_ranks.append(ranks[0])
        if ranks[0] <= topk:
            hits["market1501"][ranks[0] - 1] += 1
        for hit, place in enumerate(ranks):
            if place - hit <= topk:
                hits["allshots"][place - hit - 1] += 1 / len(ranks)
    cmc = {name: np.cumsum(curve) / len(precisions) for name, curve in hits.items()} if precisions else {}
    return np.array(precisions), np.array(inverse_penalties), np.array(first_ranks), cmc


def literal_single_shot(distances, query_pids, gallery_pids, query_camids, gallery_camids, topk=100):
    """The cuhk03 CMC: the mean over every gallery of one image per identity that there is, each query apart."""
    curves = []
    for row, pid, camid in zip(distances, query_pids, query_camids, strict=True):
        groups = {}
        for j in range(len(row)):
            if gallery_pids[j] != -1 and gallery_camids[j] != camid:
                groups.setdefault(gallery_pids[j], []).append(j)
        if pid not in groups:
            continue
        own = list(groups).index(pid)
        places = [
            sum((row[j], j) < (row[drawn[own]], drawn[own]) for j in drawn)
            for drawn in itertools.product(*groups.values())
        ]
        hits = np.bincount(places, minlength=topk)[:topk] / len(places)
        curves.append(hits.cumsum())
    return np.mean(curves, axis=0)
