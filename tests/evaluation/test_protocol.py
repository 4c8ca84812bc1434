"""The protocol of a ranking: its options, those that contradict each other, and what makes two scores comparable."""

import argparse

import pytest

from reid import UsageError
from reid.evaluation.distances import BY_NAME
from reid.evaluation.protocol import Protocol
from reid.loading import Images
from reid.runtime.device import resolve
from reid.runtime.options import add_options, build

CPU, IMAGES = resolve("cpu", "fp32"), Images(32, 16)


def asked(*words):
    parser = argparse.ArgumentParser()
    add_options(parser, Protocol)
    return build(Protocol, vars(parser.parse_args(words)))


def test_options_are_its_fields():
    assert asked() == Protocol()
    assert asked("--dist_metric", "cosine") == Protocol("cosine")
    assert asked("--rerank", "--cuhk03-repeats", "10") == Protocol(rerank=True, cuhk03_repeats=10)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--dist_metric", "manhattan"], "--dist_metric"),
        (["--cuhk03-repeats", "0"], "--cuhk03-repeats"),
        (["--identities", "train"], "'test', 'validation'"),
        (["--rerank", "yes"], "unrecognized arguments: yes"),
    ],
)
def test_other_values_are_refused(words, named, capsys):
    with pytest.raises(SystemExit):
        asked(*words)
    assert named in capsys.readouterr().err


def test_reranking_contradicts_the_cosine():
    with pytest.raises(UsageError, match="--rerank works on Euclidean distances"):
        Protocol("cosine", rerank=True)
    assert Protocol("euclidean", rerank=True).distance("cosine") == "euclidean"


@pytest.mark.parametrize(
    ("protocol", "usual", "distance"),
    [
        (Protocol(), "cosine", "cosine"),
        (Protocol(), "euclidean", "euclidean"),
        (Protocol("euclidean"), "cosine", "euclidean"),
        (Protocol(rerank=True), "cosine", "euclidean"),
    ],
)
def test_the_distance_is_that_of_the_authors_unless_another_is_asked_for(protocol, usual, distance):
    assert protocol.distance(usual) == distance


def test_ranking_gets_what_was_asked_for():
    plain = Protocol().rank_options("cosine", 3)
    assert plain == {"distances": BY_NAME["cosine"], "cuhk03_repeats": 0, "cuhk03_seed": 3}
    again = Protocol(rerank=True, cuhk03_repeats=10).rank_options("euclidean", 3)
    assert again["cuhk03_repeats"] == 10
    assert again["distances"] not in BY_NAME.values()


def test_each_choice_makes_scores_that_do_not_compare():
    settings = [
        each.settings(distance, images, CPU)
        for each, distance, images in (
            (Protocol(), "euclidean", IMAGES),
            (Protocol(), "cosine", IMAGES),
            (Protocol(rerank=True), "euclidean", IMAGES),
            (Protocol(cuhk03_repeats=10), "euclidean", IMAGES),
            (Protocol(), "euclidean", Images(64, 16)),
            (Protocol(identities="validation"), "euclidean", IMAGES),
        )
    ]
    assert len({str(each) for each in settings}) == 6
    assert settings[-1] == settings[0] | {"identities": "validation"}  # and those from before the option stay
    assert Protocol("euclidean").settings("euclidean", IMAGES, CPU) == settings[0]
    assert (settings[0]["height"], settings[0]["width"], settings[0]["precision"]) == (32, 16, "fp32")
