"""Logs of a run: a line per epoch, and no line twice after a kill."""

import json
import logging

import torch

from reid.runtime.runlog import RunLog


def lines(folder):
    return [json.loads(line)["epoch"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_lines_beyond_the_state_and_half_lines_are_dropped(tmp_path):
    with RunLog(tmp_path) as log:
        for epoch in range(3):
            log.epoch(epoch, loss=1.0 / (epoch + 1))
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "lo')
    with RunLog(tmp_path, first_epoch=2) as log:
        assert lines(tmp_path) == [0, 1]
        log.epoch(2, loss=0.3)
    assert lines(tmp_path) == [0, 1, 2]


def test_everything_logged_meanwhile_is_in_the_log_file(tmp_path):
    logging.getLogger().setLevel(logging.INFO)
    with RunLog(tmp_path) as log:
        logging.getLogger("reid.anything").warning("look here")
        log.images("perturbed", torch.rand(2, 3, 8, 4), 0)
    logging.getLogger("reid.anything").warning("too late")
    text = (tmp_path / "log.txt").read_text()
    assert "look here" in text
    assert "too late" not in text
    assert list(tmp_path.glob("events.*"))
