"""The page of a defence study: its numbers are those of the results, and its sentences are true of them."""

import dataclasses
from hashlib import sha256
from statistics import mean, stdev

import numpy as np
import pytest

from reid.errors import ReidError
from reid.evaluation.results import Result, write_result
from reid.runtime import cli
from studies import defense

FROZEN, TRANSFER = "attack/0/best_perturbation3.pth", "study/transfer/best_perturbation3.pth"


def hashed(words):
    return sha256(words.encode()).hexdigest()


def result(mAP, name="clean", noise_type=None, file=None, learnt_on=None, model="model", seed=0):
    """A result record; `file` and `model` stand for the contents of the attacker's and the model's file."""
    return Result(
        metrics={"mAP": mAP, "mINP": 0.1, "chance_mAP": 0.03, "num_valid": 9, "num_skipped": 0, "cmc": {}},
        victim={"path": "model_best.pth", "arch": "resnet10", "sha256": hashed(model)},
        attacker={
            "name": name,
            "noise_type": noise_type,
            "sha256": file and hashed(file),
            "learnt_on": learnt_on and hashed(learnt_on),
        },
        dataset={"name": "synth-a", "split": 0, "num_query": 9, "num_gallery": 99, "fingerprint": "f"},
        threat={},
        spent={},
        protocol={"height": 80},
        checks=[],
        seed=seed,
        versions={},
        command="",
        seconds=1.0,
    )


def relearnt(mAP, restart, model, converged=True):
    found = result(mAP, f"re-learnt type 0, restart {restart} of 3", 0, f"{model} {restart}", model, model)
    check = {"name": "converged", "passed": converged, "detail": ""}
    return dataclasses.replace(found, checks=[check])


def measure(study, seed, row, clean, frozen=None, worst=None, pgd=None, transfer=None, both=None):
    """Write what evaluate.py --adaptive would; the worst restart is neither the first nor the last."""
    model = f"{row} of seed {seed}"
    found = [result(clean, model=model)]
    if frozen is not None:
        found.append(result(frozen, FROZEN, 0, f"frozen {seed}", f"undefended of seed {seed}", model))
    if worst is not None:
        scores = (worst + 0.02, worst, worst + 0.01)
        found += [relearnt(score, restart, model) for restart, score in enumerate(scores, 1)]
    if pgd is not None:
        found.append(result(pgd, "PGD 8, 15 steps", model=model))
    if transfer is not None:
        found.append(result(transfer, TRANSFER, 0, "transfer", "another model", model))
    if both is not None:
        found.append(result(both, "random both 8", 0, model=model))
    folder = study / f"seed{seed}" / row / "results"
    for each in found:
        write_result(folder, each)
    return folder


@pytest.fixture
def study(tmp_path):
    """Two seeds of four models; numbers that are easy to follow."""
    for seed, shift in ((0, 0.0), (1, 0.02)):
        measure(tmp_path, seed, "undefended", 0.80 + shift, 0.30, 0.30, 0.10, 0.50, 0.79)
        measure(tmp_path, seed, "adversarial-online", 0.80 + shift, 0.70, 0.50, 0.20, 0.70, 0.78)
        measure(tmp_path, seed, "mixed-online", 0.78 + shift, 0.74, 0.56 + shift, 0.22, 0.72, 0.77)
        measure(tmp_path, seed, "meta-online", 0.79 + shift, 0.76, 0.60 + 2 * shift, 0.24, 0.74, 0.76)
    return tmp_path


def page(*folders):
    return defense.page(defense.read_study(folders))


def table(text, head):
    """The cells of the table whose header begins with `head`, by first cell (and second, in that of every seed)."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {head} |"))
    cells = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        first, *rest = line.strip("| ").split(" | ")
        cells.setdefault(first, []).append(rest)
    return {name: rows[0] if len(rows) == 1 else rows for name, rows in cells.items()}


def test_the_table_shows_mean_and_spread_of_every_attack(study):
    rows = table(page(study), "model")
    assert list(rows) == ["undefended", "adversarial-online", "mixed-online", "meta-online"]
    assert rows["undefended"] == [
        "81.0 ± 1.4",
        "30.0 ± 0.0",
        "30.0 ± 0.0",
        "10.0 ± 0.0",
        "50.0 ± 0.0",
        "79.0 ± 0.0",
        "–",
    ]
    gaps = [(0.60 - 0.30) / (0.80 - 0.30), (0.64 - 0.30) / (0.82 - 0.30)]
    closed = f"{mean(gaps):.2f} ± {stdev(gaps):.2f}"
    assert rows["meta-online"] == [
        "80.0 ± 1.4", "76.0 ± 0.0", "62.0 ± 2.8", "24.0 ± 0.0", "74.0 ± 0.0", "76.0 ± 0.0", closed,
    ]  # fmt: skip


def test_the_second_table_shows_each_seed(study):
    rows = table(page(study), "model | seed")
    assert rows["meta-online"] == [
        ["0", "79.0", "76.0", "60.0", "24.0", "74.0", "76.0", "0.60"],
        ["1", "81.0", "76.0", "64.0", "24.0", "74.0", "76.0", "0.65"],
    ]


def test_only_type_0_that_was_learnt_on_the_very_model_counts_as_relearnt(study):
    folder = study / "seed0" / "meta-online" / "results"
    model = "meta-online of seed 0"
    before = page(study)
    elsewhere = relearnt(0.05, 4, model)
    for attacker in ({"learnt_on": hashed("another model"), "sha256": "1"}, {"noise_type": 1, "sha256": "2"}):
        write_result(folder, dataclasses.replace(elsewhere, attacker=elsewhere.attacker | attacker))
    assert page(study) == before
    write_result(folder, elsewhere)
    assert table(page(study), "model | seed")["meta-online"][0][3] == "5.0"


def test_an_attack_that_was_learnt_on_the_model_long_ago_is_no_relearnt_one(tmp_path):
    """The frozen attacker of the undefended model names that model as the one that it was learnt on."""
    measure(tmp_path, 0, "undefended", 0.8, frozen=0.2, worst=0.3)
    assert table(page(tmp_path), "model")["undefended"][1:3] == ["20.0 (n=1)", "30.0 (n=1)"]


def test_what_was_not_measured_is_left_open_and_fewer_seeds_are_counted(study):
    measure(study, 1, "none", 0.84, worst=0.31)
    rows = table(page(study), "model")
    assert list(rows)[:2] == ["undefended", "none"]
    assert rows["none"] == ["84.0 (n=1)", "–", "31.0 (n=1)", "–", "–", "–", "0.02 (n=1)"]


def test_one_seed_has_no_spread(tmp_path):
    measure(tmp_path, 3, "undefended", 0.8, 0.3, 0.3)
    measure(tmp_path, 3, "mixed-pgd", 0.8, 0.7, 0.6)
    measure(tmp_path, 3, "meta-pgd", 0.8, 0.7, 0.7)
    text = page(tmp_path)
    assert "±" not in text.split("\n\n", 2)[2]
    assert "meta against mixed, under the re-learnt attack: too few seeds to tell: meta-pgd." in text


def test_rows_are_ordered_by_defence_and_attacker_and_variants_come_after(tmp_path):
    names = [
        "undefended", "none", "adversarial-frozen", "adversarial-online", "adversarial-pgd", "mixed-online",
        "meta-frozen", "meta-online", "meta-online-first", "another",
    ]  # fmt: skip
    for row in reversed(names):
        measure(tmp_path, 0, row, 0.8, worst=0.3)
    assert list(table(page(tmp_path), "model")) == names


def test_a_study_may_lie_in_several_folders(study, tmp_path_factory):
    more = tmp_path_factory.mktemp("more")
    for seed in (0, 1):
        measure(more, seed, "meta-pgd", 0.7, 0.68, 0.66)
    assert table(page(study, more), "model")["meta-pgd"][2] == "66.0 ± 0.0"


def test_the_best_row_is_that_of_the_relearnt_attack_and_is_compared_with_the_next(study):
    text = page(study)
    differences = [0.60 - 0.56, 0.64 - 0.58]
    ahead = f"{100 * mean(differences):.1f} ± {100 * stdev(differences):.1f}"
    assert "Best under the re-learnt attack is **meta-online**: 62.0 ± 2.8, ahead of the next, " in text
    assert f"mixed-online, by {ahead} (differences within a seed)" in text
    assert "- frozen / undefended clean, at least 0.9: 0.938 ± 0.016; **holds** (in 2 of 2 seeds)" in text
    assert "- gap closed, at least 0.5: 0.627 ± 0.038; **holds** (in 2 of 2 seeds)" in text
    assert "- change of clean mAP, at least -0.05: -0.010 ± 0.000; **holds** (in 2 of 2 seeds)" in text
    assert "All three hold on average for: mixed-online, meta-online." in text


def test_a_row_that_was_not_measured_in_every_seed_is_not_called_best(study):
    measure(study, 1, "meta-pgd", 0.8, 0.8, 0.79)
    assert "Best under the re-learnt attack is **meta-online**" in page(study)


def test_a_requirement_that_was_not_measured_is_not_claimed(tmp_path):
    for seed in (0, 1):
        measure(tmp_path, seed, "undefended", 0.8, 0.3, 0.3)
        measure(tmp_path, seed, "meta-pgd", 0.8, worst=0.7, frozen=0.79 if seed else None)
    text = page(tmp_path)
    assert "0.988 (n=1); **not known: not measured in every seed** (in 1 of 2 seeds)" in text
    assert "All three hold on average for: no model." in text


def test_without_a_defended_model_nothing_is_called_best(tmp_path):
    measure(tmp_path, 0, "undefended", 0.8, 0.3, 0.3)
    assert "No defended model has been measured under the re-learnt attack in every seed yet." in page(tmp_path)


@pytest.mark.parametrize("draw", range(6))
def test_the_sentences_are_true_whatever_the_numbers(draw, tmp_path):
    random = np.random.default_rng(draw)
    rows = ["adversarial-frozen", "mixed-frozen", "meta-frozen", "none"]
    before, after = random.uniform([0.75, 0.2], [0.9, 0.3], (3, 2)), {}
    for seed, (clean, worst) in enumerate(before):
        measure(tmp_path, seed, "undefended", clean, worst, worst)
        for row in rows:
            scores = clean + random.uniform([-0.08, -0.12, -0.45], [0.05, 0.0, -0.1])
            after.setdefault(row, []).append(scores)
            measure(tmp_path, seed, row, scores[0], frozen=scores[1], worst=scores[2])
    meets = {}
    for row in rows:
        per_seed = [
            (frozen / clean, (worst - bad) / (clean - bad), kept - clean)
            for (clean, bad), (kept, frozen, worst) in zip(before, after[row], strict=True)
        ]
        meets[row] = [mean(values) >= least for values, least in zip(zip(*per_seed), (0.9, 0.5, -0.05))]  # noqa: B905
    best = max(rows, key=lambda row: mean(scores[2] for scores in after[row]))
    text = page(tmp_path)
    assert f"Best under the re-learnt attack is **{best}**" in text
    bullets = [line for line in text.splitlines() if ", at least " in line]
    assert [("**holds**" in line, "**does not hold**" in line) for line in bullets] == [
        (ok, not ok) for ok in meets[best]
    ]
    named = text.split("All three hold on average for: ")[1].split(".\n")[0]
    assert named.split(", ") == [row for row in ("none", *rows[:3]) if all(meets[row])] or named == "no model"
    assert (named == "no model") == (not any(map(all, meets.values())))
    differences = [a[2] - b[2] for a, b in zip(after["meta-frozen"], after["mixed-frozen"], strict=True)]
    verdict = "no difference"
    if abs(mean(differences)) > stdev(differences):
        verdict = "better" if mean(differences) > 0 else "worse"
    assert f"meta against mixed, under the re-learnt attack: {verdict} beyond the spread: meta-frozen." in text


def test_differences_are_taken_within_a_seed(study):
    rows = table(page(study), "difference")
    meta, mixed = [0.60, 0.64], [0.56, 0.58]
    differences = [100 * (a - b) for a, b in zip(meta, mixed, strict=True)]
    assert rows["meta-online minus mixed-online"] == [
        f"{mean(differences):+.1f} ± {stdev(differences):.1f}", "+2.0 ± 0.0", "+1.0 ± 0.0",
    ]  # fmt: skip
    assert rows["mixed-online minus adversarial-online"] == ["+7.0 ± 1.4", "+4.0 ± 0.0", "-2.0 ± 0.0"]


def test_a_variant_is_compared_with_the_same_attacker_and_never_with_another(study):
    for seed in (0, 1):
        measure(study, seed, "meta-online-first", 0.79, 0.76, 0.61)
        measure(study, seed, "meta-online-pgd", 0.79, 0.76, 0.62)
        measure(study, seed, "meta-frozen", 0.79, 0.76, 0.40)
    assert list(table(page(study), "difference")) == [
        "meta-online minus mixed-online",
        "meta-online-first minus mixed-online",
        "mixed-online minus adversarial-online",
    ]


def test_attacks_that_had_not_converged_are_counted(study):
    assert "the worst of 3 restarts. Of 24 such attacks 0 had not converged" in page(study)
    folder = study / "seed1" / "meta-online" / "results"
    write_result(folder, relearnt(0.7, 1, "meta-online of seed 1", converged=False))
    write_result(folder, relearnt(0.7, 4, "meta-online of seed 1", converged=False))
    assert "the worst of 3 or 4 restarts. Of 25 such attacks 2 had not converged" in page(study)


def change(folder, **changes):
    """One more result in the folder, of the same model, that differs in `changes`."""
    found = defense.read_results(folder)[0]
    attacker = found.attacker | {"name": "one more"}
    write_result(folder, dataclasses.replace(found, **{"attacker": attacker, **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"victim": {"path": "model_best.pth", "arch": "resnet10", "sha256": "0"}}, "results of more than one model"),
        ({"protocol": {"height": 96}}, "of different protocols"),
        ({"dataset": {"name": "synth-b", "split": 0, "num_query": 1, "num_gallery": 1}}, "of different datasets"),
    ],
)
def test_results_that_must_not_be_compared_are_refused(changes, words, study):
    change(study / "seed1" / "meta-online" / "results", **changes)
    with pytest.raises(ReidError, match=words):
        defense.read_study([study])


def test_a_row_in_two_folders_is_refused(study, tmp_path_factory):
    more = tmp_path_factory.mktemp("more")
    measure(more, 0, "meta-online", 0.7, 0.68, 0.66)
    with pytest.raises(ReidError, match="meta-online of seed 0 is in another folder too"):
        defense.read_study([study, more])


def test_a_seed_without_its_undefended_model_is_refused(study):
    measure(study, 2, "meta-online", 0.7, 0.68, 0.66)
    with pytest.raises(ReidError, match="seed 2 lacks results of undefended"):
        defense.read_study([study])


def test_folders_that_are_no_seed_or_are_still_empty_are_passed_over(study):
    before = page(study)
    (study / "seed0" / "meta-pgd" / "results").mkdir(parents=True)
    measure(study, "-old", "meta-pgd", 0.7, 0.68, 0.66)
    assert page(study) == before


def test_a_folder_without_results_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(defense.main, [str(tmp_path)])
    assert left.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: no results in {tmp_path}/seed*/*/results")
    assert captured.err.count("\n") == 1


def test_the_command_prints_the_page(study, capsys):
    defense.main([str(study)])
    assert capsys.readouterr().out == page(study) + "\n"
