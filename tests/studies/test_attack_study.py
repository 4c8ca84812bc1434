"""The page of the attack study: each number from the results of its file and model, and no others."""

import pytest
from invented import result

from reid.errors import ReidError
from reid.evaluation.results import write_result
from studies import attack


@pytest.fixture
def study(tmp_path):
    """Two seeds of two modes at 96 gradients, on A and D; a file holds its own name."""
    for mode, scores in {"maml": (0.20, 0.30), "source": (0.10, 0.12)}.items():
        for seed, mAP in enumerate(scores):
            name = f"{mode}-96/{seed}/best_perturbation3.pth"
            (tmp_path / name).parent.mkdir(parents=True)
            (tmp_path / name).write_text(name)
            write_result(tmp_path / "results" / "A", result(mAP, "universal", "any", 0, name, "A"))
    for model in ("A", "D"):
        write_result(tmp_path / "results" / model, result(0.8, model=model))
        for noise_type, least in {0: 0.4, 1: 0.6, 2: 0.3}.items():
            for more in (0.05, 0.0):
                file = f"{model} {noise_type} {more}"
                write_result(
                    tmp_path / "results" / model, result(least + more, "relearnt", file, noise_type, file, model)
                )
    return tmp_path


def test_means_and_spreads_are_by_mode_and_model(study, monkeypatch):
    monkeypatch.setattr(attack, "MODES", {"maml": "with", "source": "without"})
    page = attack.page(study)
    assert "over 2 seeds" in page
    assert "### 96 gradients" in page
    assert "| with | 25.0 ± 7.1 |" in page
    assert "| without | 11.0 ± 1.4 |" in page


def test_the_strongest_start_counts_for_each_way_to_spend_a_total(study, monkeypatch):
    monkeypatch.setattr(attack, "MODES", {"maml": "with"})
    table = attack.page(study).partition("## Colour")[2]
    assert "| 16/255 in all | A | D |" in table
    assert "| colour + delta, half of it each | 40.0 | 40.0 |" in table
    assert "| delta alone | 30.0 | 30.0 |" in table
    assert "| chance | 3.0 | 3.0 |" in table


def test_a_study_that_is_not_finished_is_refused(study):
    with pytest.raises(ReidError, match=r"lacks results; run bash studies/attackStudy\.sh"):
        attack.page(study)
