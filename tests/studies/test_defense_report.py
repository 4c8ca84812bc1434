"""The page of a defence study: its numbers are those of the results, and its sentences are true of them."""

import dataclasses
import json
import shutil
from hashlib import sha256
from statistics import mean, stdev

import numpy as np
import pytest

from reid.errors import ReidError
from reid.evaluation.results import Result, read_results, write_result
from reid.runtime import cli
from studies import defense
from studies.defense_results import read_study

SETTINGS = {
    "control": {"control": "random both"},
    "image": {"attack": "pgd", "steps": 15},
    "relearnt": {"recipe": "none"},
}


def hashed(words):
    return sha256(words.encode()).hexdigest()


def result(mAP, kind="clean", name="", noise_type=None, file=None, learnt_on=None, model="model", seed=0):
    """A result record; `file`, `learnt_on` and `model` stand for the contents of files."""
    color, delta = (8 / 255 if noise_type in types else 0.0 for types in ((0, 1), (0, 2, None)))
    return Result(
        metrics={"mAP": mAP, "mINP": 0.1, "chance_mAP": 0.03, "num_valid": 9, "num_skipped": 0, "cmc": {}},
        victim={"path": "model_best.pth", "arch": "resnet10", "sha256": hashed(model)},
        attack={
            "name": name or kind,
            "kind": kind,
            "noise_type": noise_type,
            "sha256": file and hashed(file),
            "learnt_on": learnt_on and hashed(learnt_on),
            "settings": SETTINGS.get(kind, {}),
        },
        dataset={"name": "synth-a", "split": 0, "num_query": 9, "num_gallery": 99, "contents": "c"},
        threat={} if kind == "clean" else {"eps_color": color, "eps_delta": delta, "side": "query"},
        spent={},
        passes={},
        protocol={"height": 80},
        checks=[],
        seed=seed,
        versions={},
        command="",
        seconds=1.0,
    )


def relearnt(mAP, restart, model, converged=True, seed=0):
    record = result(mAP, "relearnt", "", 0, f"{model} {restart}", model, model, seed)
    return dataclasses.replace(record, checks=[{"name": "converged", "passed": converged, "detail": ""}])


def measure(study, seed, name, clean, frozen=None, worst=None, pgd=None, transfer=None, both=None, folder=None):
    """Write what a study would of the row `name`: DEFENSE-ATTACKERS-REMARK. The worst restart is neither the first nor
    the last. Where it lies does not matter."""
    defense, attackers, *_ = [*name.split("-"), ""]
    model = f"{name} of seed {seed}"
    records = [result(clean, model=model, seed=seed)]
    if frozen is not None:
        learnt_on = f"undefended of seed {seed}"
        records.append(result(frozen, "universal", "any", 0, f"frozen {seed}", learnt_on, model, seed))
    if worst is not None:
        scores = (worst + 0.02, worst, worst + 0.01)
        records += [relearnt(score, restart, model, seed=seed) for restart, score in enumerate(scores, 1)]
    if pgd is not None:
        records.append(result(pgd, "image", model=model, seed=seed))
    if transfer is not None:
        records.append(result(transfer, "universal", "any", 0, "transfer", "another model", model, seed))
    if both is not None:
        records.append(result(both, "control", noise_type=0, model=model, seed=seed))
    place = study / "any" / (folder or hashed(model)[:8])
    for each in records:
        write_result(place / "results", each)
    row = {"name": name, "defense": defense, "attackers": list(filter(None, attackers.split("+")))}
    (place / "row.json").write_text(json.dumps(row))
    return place / "results"


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
    return defense.page(read_study(folders))


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
    folder = measure(study, 0, "meta-online", 0.79, 0.76, 0.60, 0.24, 0.74, 0.76)
    before = page(study)
    strong = relearnt(0.05, 4, "meta-online of seed 0")
    for changes in ({"learnt_on": hashed("another model"), "sha256": "1"}, {"noise_type": 1, "sha256": "2"}):
        write_result(folder, dataclasses.replace(strong, attack=strong.attack | changes))
    assert page(study) == before
    write_result(folder, strong)
    assert table(page(study), "model | seed")["meta-online"][0][3] == "5.0"


def test_the_model_that_a_perturbation_was_learnt_on_tells_frozen_from_transfer(study):
    """Whatever its file is called, and wherever it lies."""
    folder = measure(study, 0, "meta-online", 0.79, 0.76, 0.60, 0.24, 0.74, 0.76)
    model, undefended = "meta-online of seed 0", "undefended of seed 0"
    cells = table(page(study), "model | seed")["meta-online"][0]
    assert (cells[2], cells[5]) == ("76.0", "74.0")
    for learnt_on, name in ((undefended, "transfer/best_perturbation3.pth"), ("a third model", "attack/0/best.pth")):
        write_result(folder, result(0.01, "universal", name, 0, name, learnt_on, model))
    cells = table(page(study), "model | seed")["meta-online"][0]
    assert (cells[2], cells[5]) == ("1.0", "1.0")


@pytest.mark.parametrize(
    ("noise_type", "learnt_on"), [(1, "undefended of seed 0"), (0, "meta-online of seed 0"), (0, None)]
)
def test_other_files_have_no_column(noise_type, learnt_on, study):
    folder = measure(study, 0, "meta-online", 0.79, 0.76, 0.60, 0.24, 0.74, 0.76)
    before = page(study)
    write_result(folder, result(0.01, "universal", "any", noise_type, "file", learnt_on, "meta-online of seed 0"))
    assert page(study) == before


def test_the_undefended_model_has_a_frozen_and_a_relearnt_column(tmp_path):
    """Both perturbations were learnt on that model."""
    measure(tmp_path, 0, "undefended", 0.8, frozen=0.2, worst=0.3)
    assert table(page(tmp_path), "model")["undefended"][1:3] == ["20.0 (n=1)", "30.0 (n=1)"]


def test_every_attack_states_its_total_budget(study):
    lines = page(study).splitlines()
    for column, total in (("frozen", 16), ("re-learnt", 16), ("PGD", 8), ("transfer", 16), ("random both", 16)):
        (line,) = (line for line in lines if line.startswith(f"- {column}:"))
        assert line.endswith(f"; total budget {total}/255")


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


def test_rows_are_ordered_by_defence_and_attackers_and_variants_come_after(tmp_path):
    names = [
        "undefended", "none", "adversarial-frozen", "adversarial-online", "adversarial-pgd", "mixed-online",
        "meta-frozen", "meta-online", "meta-online-second", "meta-frozen+pgd", "another-mine",
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


def test_rows_are_compared_where_they_were_trained_against_the_same_attackers(study):
    for seed in (0, 1):
        measure(study, seed, "meta-online-second", 0.79, 0.76, 0.61)
        measure(study, seed, "meta-online+pgd", 0.79, 0.76, 0.62)
        measure(study, seed, "meta-frozen", 0.79, 0.76, 0.40)
    assert list(table(page(study), "difference")) == [
        "meta-online minus mixed-online",
        "meta-online-second minus mixed-online",
        "mixed-online minus adversarial-online",
    ]


def test_attacks_that_had_not_converged_are_counted(study):
    assert "the worst of 3 restarts. Of 24 such attacks 0 had not converged" in page(study)
    folder = measure(study, 1, "meta-online", 0.81)
    for restart in (1, 4):
        write_result(folder, relearnt(0.7, restart, "meta-online of seed 1", converged=False, seed=1))
    assert "the worst of 3 or 4 restarts. Of 25 such attacks 2 had not converged" in page(study)


def change(folder, **changes):
    """One more result in the folder, of the same model, that differs in `changes`."""
    record = read_results(folder)[0]
    write_result(folder, dataclasses.replace(record, **{"attack": record.attack | {"name": "one more"}, **changes}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"victim": {"path": "model_best.pth", "arch": "resnet10", "sha256": "0"}},
            "of more than one model or seed",
        ),
        ({"seed": 7}, "of more than one model or seed"),
        ({"protocol": {"height": 96}}, "of different protocols"),
        ({"dataset": {"name": "synth-b", "split": 0, "num_query": 1, "num_gallery": 1}}, "of different datasets"),
    ],
)
def test_results_that_must_not_be_compared_are_refused(changes, words, study):
    change(measure(study, 1, "meta-online", 0.81), **changes)
    with pytest.raises(ReidError, match=words):
        read_study([study])


def test_a_row_in_two_folders_is_refused(study, tmp_path_factory):
    more = tmp_path_factory.mktemp("more")
    measure(more, 0, "meta-online", 0.7, 0.68, 0.66)
    with pytest.raises(ReidError, match="meta-online of seed 0 is in another folder too"):
        read_study([study, more])


def test_a_seed_without_its_undefended_model_is_refused(study):
    measure(study, 2, "meta-online", 0.7, 0.68, 0.66)
    with pytest.raises(ReidError, match="seed 2 lacks results of an undefended model"):
        read_study([study])


def test_an_undefended_model_without_a_relearnt_attack_is_refused(study):
    measure(study, 2, "undefended", 0.8, frozen=0.3)
    with pytest.raises(ReidError, match="seed 2: undefended lacks clean or re-learnt results"):
        read_study([study])


def test_a_second_undefended_model_of_a_seed_is_refused(study):
    measure(study, 1, "undefended-online", 0.8, 0.3, 0.3)
    with pytest.raises(ReidError, match="of seed 1 is in another folder too"):
        read_study([study])


def test_rows_without_results_yet_are_passed_over(study):
    before = page(study)
    results = measure(study, 0, "meta-pgd", 0.7, 0.68, 0.66)
    shutil.rmtree(results)
    assert page(study) == before
    results.mkdir()
    assert page(study) == before


@pytest.mark.parametrize("text", ["", "[]", '{"name": "x", "defense": "meta"}', '{"name": "x", "attackers": 1}'])
def test_a_row_that_says_too_little_is_named(text, study):
    path = measure(study, 0, "meta-pgd", 0.7).with_name("row.json")
    path.write_text(text)
    with pytest.raises(ReidError, match=f"{path} does not say name, defense and attackers"):
        read_study([study])


def test_a_folder_without_results_is_one_line_and_exit_code_2(tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(defense.main, [str(tmp_path)])
    assert left.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: no results next to {tmp_path}/*/*/row.json")
    assert captured.err.count("\n") == 1


def test_the_command_prints_the_page(study, capsys):
    defense.main([str(study)])
    assert capsys.readouterr().out == page(study) + "\n"
