"""The page of the defence study: its numbers are those of the records, and its sentences are true of them."""

import json
from statistics import mean, stdev

import numpy as np
import pytest
from invented import PIDS, write_record

from reid.errors import ReidError
from reid.evaluation.intervals import interval
from reid.runtime import cli
from studies import defense
from studies.defense_results import COLUMNS, ROWS, TRAINED, read_study

BEST = ("trades", "meta", "mixed")  # on validation identities


@pytest.fixture
def study(tmp_path):
    """All rows of three seeds. On validation identities the last rows of BEST are better by a hundredth each; on query
    and gallery the rows stand the other way round."""
    for seed in range(3):
        for place, row in enumerate(ROWS):
            chosen = 0.8 - 0.01 * BEST.index(row) if row in BEST else 0.6
            write_record(tmp_path, f"seed{seed}", row, "validation", chosen)
            write_record(tmp_path, f"seed{seed}", row, "test", 0.7 - 0.01 * place + 0.02 * seed)
    return tmp_path


def page(folder):
    return defense.page(read_study(folder))


def section(text, title):
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0].strip()


def tables(text):
    """The cells of each table of a text, by first cell, without its head."""
    found = []
    for block in text.split("\n\n"):
        if block.startswith("|"):
            lines = [line.strip("|").split("|") for line in block.splitlines()]
            found.append({line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]})
    return found


def test_rows_show_mean_and_spread_of_the_worst_case_and_of_the_strongest_attack(study):
    worst, alone = tables(section(page(study), "All rows"))
    assert list(worst) == list(alone) == list(ROWS)
    values = [100 * (0.7 - 0.01 + 0.02 * seed) for seed in range(3)]  # the second row
    spread = f"± {stdev(values):.1f}"
    assert worst["none"] == [*(f"{mean(values) - 10 * place:.1f} {spread}" for place in range(5)), "3"]
    more = [f"{mean(values) - 10 * place + (place > 0):.1f} {spread}" for place in range(5)]
    assert alone["none"] == [*more, "3"]


def test_rows_are_chosen_on_validation_identities_alone(study):
    text = section(page(study), "Which rows were chosen, and by what")
    (table,) = tables(text)
    assert "Chosen are, the best first, trades, meta, mixed." in text
    assert list(table)[:3] == list(BEST)
    assert table["trades"] == ["80.0 ± 0.0", "70.0 ± 0.0", "60.0 ± 0.0", "50.0 ± 0.0", "40.0 ± 0.0", "60.0"]
    assert read_study(study).best(1, ("fare", "mixed")) == ["mixed"]


def test_the_model_that_was_not_trained_is_never_chosen(study):
    for seed in range(3):
        write_record(study, f"seed{seed}", "undefended", "validation", 0.99)
    assert read_study(study).best(3, TRAINED) == list(BEST)


def test_more_seeds_are_of_the_chosen_rows_and_change_no_other_table(study):
    before = section(page(study), "All rows")
    for row in ("undefended", *BEST):
        write_record(study, "seed3", row, "test", 0.5)
    text = page(study)
    (table,) = tables(section(text, "The best three"))
    assert list(table) == ["undefended", *BEST]
    assert {cells[-1] for cells in table.values()} == {"4"}
    assert section(text, "All rows") == before


def test_rows_are_compared_query_by_query_with_an_interval_over_people(study):
    precision = {}
    for seed in range(3):
        for row in ("trades", "none"):
            path = write_record(study, f"seed{seed}", row, "test", 0.6, noise=0.05)
            precision[seed, row] = np.array(json.loads(path.read_text())["precision"]["image"])
    differences = np.concatenate([precision[seed, "trades"] - precision[seed, "none"] for seed in range(3)])
    people = np.concatenate([PIDS + 100 * seed for seed in range(3)])
    low, high = interval(differences, people)
    cells = tables(section(page(study), "The best row against all others"))[0]["trades minus none"]
    expected = f"{100 * differences.mean():+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"
    assert cells[list(COLUMNS).index("image")].strip("*") == expected


@pytest.mark.parametrize(
    ("by_seed", "sign"),
    [((0.1, 0.2, 0.1), 1), ((-0.1, -0.2, -0.1), -1), ((0.5, 0.5, -0.01), 0), ((0.0, 0.0, 0.0), 0)],
)
def test_more_than_chance_has_no_0_and_one_sign_in_every_seed(by_seed, sign, tmp_path):
    for seed, more in enumerate(by_seed):
        write_record(tmp_path, f"seed{seed}", "mixed", "test", 0.5)
        write_record(tmp_path, f"seed{seed}", "meta", "test", 0.5 + more)
    found = read_study(tmp_path).difference("meta", "mixed", "image")
    assert found.sign == sign
    assert found.mean == pytest.approx(mean(by_seed))


def test_a_difference_that_varies_among_people_is_chance(tmp_path):
    write_record(tmp_path, "seed0", "mixed", "test", 0.5)
    write_record(tmp_path, "seed0", "meta", "test", 0.501, noise=0.3)
    assert read_study(tmp_path).difference("meta", "mixed", "image").sign == 0


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            (0, 0.1, 0, 0, -0.1),
            "better in universal 8 + 8; worse in image, with gallery; no different beyond chance in",
        ),
        ((0.1,) * 5, "better in clean, universal 8 + 8, delta 16, image, image, with gallery."),
        ((0,) * 5, "no different beyond chance in clean"),
    ],
)
def test_what_the_look_ahead_is_worth_is_told_from_the_numbers(more, words, study):
    for seed in range(3):
        values = (0.8, 0.7, 0.6, 0.5, 0.4)
        write_record(study, f"seed{seed}", "mixed", "test", values)
        write_record(study, f"seed{seed}", "meta", "test", tuple(map(sum, zip(values, more, strict=True))))
    text = section(page(study), "Where meta-learning stands")
    assert words in text
    assert ("Nothing here justifies the cost of the look-ahead." in text) == (max(more) <= 0)
    assert "`meta` is number 2 of 8 rows." in text


def test_one_judgement_has_its_interval_and_the_strongest_attack(study):
    write_record(study, "seed0", "trades", "standard", 0.6)
    text = section(page(study), "The standard suite")
    (table,) = tables(text)
    assert list(table) == [f"{row}, `reid-{suite}-v1`" for row in BEST[:2] for suite in ("fast", "standard")]
    assert table["trades, `reid-standard-v1`"][:2] == ["60.0 [58.0, 63.0]", "50.0 [48.0, 53.0], alone 51.0"]
    assert set(table["meta, `reid-standard-v1`"]) == {"missing"}


def test_the_trade_off_is_of_the_better_row_that_has_an_anchor(study):
    for seed in range(3):
        write_record(study, f"seed{seed}", "anchored", "validation", 0.65)
    write_record(study, "seed0", "anchored-anchor-4", "test", 0.9)
    text = section(page(study), "Clean mAP against robustness")
    (table,) = tables(text)
    assert text.startswith("`anchored`")
    assert [cells[0] for cells in table.values()] == ["missing", "64.0 [62.0, 67.0]", "90.0 [88.0, 93.0]"]
    assert list(table) == [f"`--anchor {weight}`" for weight in (0.25, 1, 4)]


def test_a_model_of_others_is_apart(study):
    before = section(page(study), "All rows")
    write_record(study, "osnet", "trades", "test", 0.66)
    text = page(study)
    (table,) = tables(section(text, "A model of others"))
    assert {row: cells[0] for row, cells in table.items()} == {
        "undefended": "missing",
        "trades": "66.0 [64.0, 69.0]",
        "meta": "missing",
        "mixed": "missing",
    }
    assert section(text, "All rows") == before


def test_flags_are_counted_once_for_each_judgement(study):
    for seed in range(2):
        write_record(study, f"seed{seed}", "fare", "test", 0.5, flags=("not converged", "not converged"))
    write_record(study, "osnet", "fare", "test", 0.5, flags=("not converged",))
    lines = section(page(study), "Flags").splitlines()
    assert lines[-2:] == ["| not converged | fare | test | 2 of 3 |", "| not converged | fare | test, osnet | 1 of 1 |"]


def test_how_rows_were_trained_is_told_and_where_it_changed(study):
    write_record(study, "seed1", "fare", "test", 0.5, trained="--defense fare --lr 1", start="another A")
    text = section(page(study), "How each row was trained")
    assert "| fare | `--defense fare`; `--defense fare --lr 1` |" in text
    assert "Not all rows of seed1 start from the same file" in text
    assert "undefended" not in text
    assert f"took {54 * 0.1:.1f} hours" in text


def test_what_is_missing_is_called_so(study, tmp_path_factory):
    for path in study.glob("seed[12]/fare/*"):
        path.unlink()
    text = page(study)
    assert tables(section(text, "All rows"))[0]["fare"][0] == "65.0"  # of one seed
    assert tables(section(text, "All rows"))[0]["fare"][-1] == "1"
    assert tables(section(text, "Which rows were chosen, and by what"))[0]["fare"][-1] == "missing"
    for title in ("The best three", "The best row against all others", "The standard suite"):
        assert section(text, title) == "Nothing is chosen yet."
    write_record(study, "seed0", "gallery", "standard", 0.6)
    standard = section(page(study), "The standard suite")
    assert standard.startswith(
        "The best two rows are not chosen yet; these have been judged by `reid-standard-v1`, seed 0"
    )
    assert list(tables(standard)[0]) == ["gallery, `reid-fast-v1`", "gallery, `reid-standard-v1`"]
    empty = page(tmp_path_factory.mktemp("empty"))
    assert {cell for cells in tables(section(empty, "All rows"))[0].values() for cell in cells} == {"missing"}
    assert "is not judged yet" in section(empty, "Where meta-learning stands")


def test_nothing_is_best_before_all_rows_are_judged(study, capsys):
    (study / "seed2" / "gallery" / "validation.json").unlink()
    with pytest.raises(SystemExit) as left:
        cli.run(defense.main, [str(study), "--best", "3"])
    assert left.value.code == 2
    problem = "error: no validation records in all of the seeds 0 1 2 of gallery"
    assert capsys.readouterr().err == f"{problem}; run bash studies/defenseStudy.sh 0 1 2\n"


@pytest.mark.parametrize("change", [{"contents": "others"}, {"suite": "reid-smoke-v1"}, {"protocol": {"height": 128}}])
def test_what_was_judged_otherwise_is_not_compared(change, study):
    write_record(study, "seed1", "meta", "test", 0.5, **change)
    with pytest.raises(ReidError, match="of seed 1 were not judged by the same suite on the same images; remove the"):
        page(study)


@pytest.mark.parametrize(
    ("key", "value"), [("worst", {}), ("precision", {}), ("pids", [1]), ("trained", None), ("flags", [3])]
)
def test_a_file_that_is_no_record_is_named(key, value, study):
    path = study / "seed1" / "meta" / "test.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(ReidError, match=f"{path} is no record of the study"):
        read_study(study)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_damaged_record_is_named(text, study):
    path = study / "seed1" / "meta" / "test.json"
    path.write_text(text)
    with pytest.raises(ReidError, match=f"{path} is no record of the study"):
        read_study(study)


def test_the_command_prints_the_page_or_the_best_rows(study, capsys):
    defense.main([str(study)])
    assert capsys.readouterr().out == page(study) + "\n"
    defense.main([str(study), "--best", "2"])
    assert capsys.readouterr().out == "trades\nmeta\n"
    defense.main([str(study), "--best", "1", "--among", "fare", "mixed"])
    assert capsys.readouterr().out == "mixed\n"


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--among", "fare"], "give --best N"), (["--best", "0"], "--best"), (["--best", "1", "--among", "x"], "'x'")],
)
def test_wrong_options_are_one_line(options, words, study, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(defense.main, [str(study), *options])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_the_page_in_the_docs_is_that_of_the_records():
    root = defense.Path(__file__).parents[2]
    assert (root / "docs/defense-results.md").read_text() == page(root / "studies/defense-records") + "\n"
