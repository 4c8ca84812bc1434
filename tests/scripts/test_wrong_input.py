"""Wrong input: one clear line on stderr that names the fault, exit code 2, no traceback, nothing written."""

import pytest
import torch
from tiny_market import SIZE

import evaluate
import metaAttack
import metaDefense
import trainReid
from reid import attacks, datasets, models
from reid.attacks import apply, convert
from reid.leaderboard import __main__ as leaderboard
from reid.leaderboard import add
from reid.models import extract
from reid.report import __main__ as report
from reid.report import picture
from reid.runtime import cli
from reid.training import trainer as train

COMMANDS = [trainReid, metaAttack, metaDefense, evaluate, picture, report, apply, extract, leaderboard, add]


def failure(script, options, capsys):
    with pytest.raises(SystemExit) as left:
        cli.run(script.main, options)
    assert left.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("\r") and line]
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert lines[-1] == errors[0]
    assert not any("Traceback" in line for line in lines)
    return errors[0]


def with_few_training_identities(monkeypatch, name, number):
    """Let a dataset have no more training identities than that."""
    create = datasets.create

    def poor(*args, **kwargs):
        dataset = create(*args, **kwargs)
        if dataset.name == name:
            kept = sorted({sample.pid for sample in dataset.train})[:number]
            dataset.train = [sample for sample in dataset.train if sample.pid in kept]
            dataset.trainval = dataset.train
        return dataset

    monkeypatch.setattr(datasets, "create", poor)


@pytest.fixture
def wrong(tmp_path):
    page, cut = tmp_path / "page.pth", tmp_path / "cut.pth"
    page.write_text("<!DOCTYPE html><html>Sign in</html>")
    torch.save({"state_dict": {"w": torch.zeros(1000)}}, cut)
    cut.write_bytes(cut.read_bytes()[:700])
    return {"page": str(page), "cut": str(cut), "missing": str(tmp_path / "none.pth"), "folder": str(tmp_path)}


@pytest.mark.parametrize("script", COMMANDS)
def test_no_arguments(script, capsys):
    assert "the following arguments are required" in failure(script, [], capsys)


@pytest.mark.parametrize("script", COMMANDS)
def test_help_describes_every_option(script, capsys, monkeypatch):
    parsers = []
    initialise = cli.OneLineParser.__init__
    monkeypatch.setattr(
        cli.OneLineParser, "__init__", lambda self, *a, **k: (parsers.append(self), initialise(self, *a, **k))[1]
    )
    with pytest.raises(SystemExit) as left:
        cli.run(script.main, ["--help"])
    assert left.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for action in parsers[0]._actions:
        assert action.help, action.dest
        long = [option for option in action.option_strings if option.startswith("--")]
        assert not long or f"{long[0]} " in shown
    assert "None" not in shown


def test_a_path_that_cannot_be_written_is_one_line(train_options, victim, data, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    path = str(tmp_path / "file")
    assert path in failure(trainReid, [*train_options, "--logs_dir", path], capsys)
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--results", path]
    assert path in failure(evaluate, options, capsys)


def test_a_target_that_cannot_be_ranked_is_found_before_the_attack(attack_options, victim, tmp_path, capsys):
    options = [*attack_options, "-t", "mars", "--resumeTgt", victim, "--noise_resume", str(tmp_path / "new")]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    assert not (tmp_path / "new").exists()


def test_wrong_dataset(data, victim, tmp_path, capsys):
    logs = ["--logs_dir", str(tmp_path / "logs")]
    assert "no dataset is called 'mars'" in failure(trainReid, ["-d", "mars", "--data", data, *logs], capsys)
    options = ["-s", "mars", "-m", "synth-virtual", "--resume", victim, "--data", data]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    options = ["-s", "synth-a", "-m", "mars", "--resume", victim, "--data", data]
    assert "no dataset is called 'mars'" in failure(metaAttack, options, capsys)
    assert "no dataset is called 'mars'" in failure(evaluate, ["-d", "mars", "--resume", victim], capsys)
    assert not (tmp_path / "logs").exists()


def test_missing_dataset(data, victim, capsys):
    assert "market1501" in failure(evaluate, ["-d", "market1501", "--resume", victim, "--data", data], capsys)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("page", "web page"), ("cut", "damaged"), ("missing", "no such checkpoint"), ("folder", "is a folder")],
)
def test_wrong_checkpoint(kind, words, wrong, data, capsys):
    model = ["--resume", wrong[kind], "--data", data]
    assert words in failure(evaluate, ["-d", "synth-a", *model], capsys)
    assert words in failure(metaAttack, ["-s", "synth-a", "-m", "synth-virtual", *model], capsys)


def test_attacker_and_model_files_mixed_up(victim, attacker, data, capsys):
    options = ["-d", "synth-a", "--data", data, *SIZE]
    assert attacker in failure(evaluate, [*options, "--resume", attacker], capsys)
    assert victim in failure(evaluate, [*options, "--resume", victim, "--attack", victim], capsys)


def test_wrong_architecture(victim, data, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, "-a", "resMeta"]
    assert "is a resnet10, not a resMeta" in failure(evaluate, options, capsys)


@pytest.mark.parametrize("bad", ["3", "-1", "x"])
def test_wrong_noise_type(bad, attack_options, capsys):
    assert "--noise_type" in failure(metaAttack, [*attack_options, "--noise_type", bad], capsys)


def test_batch_size_that_is_no_multiple(train_options, attack_options, tmp_path, capsys):
    words = "--batch_size 10 is not a multiple of --num-instances 4"
    logs = ["--logs_dir", str(tmp_path / "logs")]
    assert words in failure(trainReid, [*train_options, "--batch_size", "10", *logs], capsys)
    assert words in failure(metaAttack, [*attack_options, "--batch_size", "10"], capsys)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--lp", "0"], "--lp"),
        (["--lp", "300"], "--lp"),
        (["--epoch", "0"], "--epoch"),
        (["--meta", "reptile"], "--meta"),
        (["-t", "synth-b"], "-t and --resumeTgt go together"),
        (
            ["--batch_size", "800"],
            "a batch of 200 identities x 4 images needs 200 identities, and synth-a has 11",
        ),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--device", "meta"], "--device meta"),
        (["--precision", "fp8"], "--precision fp8"),
        (["--resume-from", "nowhere/state.pth"], "no such checkpoint file"),
        (["--height", "0"], "--height"),
    ],
)
def test_wrong_attack_options(extra, words, attack_options, tmp_path, capsys):
    assert words in failure(metaAttack, [*attack_options, "--noise_resume", str(tmp_path / "new"), *extra], capsys)
    assert not list(tmp_path.glob("**/*.pth"))


def test_meta_learning_without_a_virtual_set(victim, data, capsys):
    options = ["-s", "synth-a", "--resume", victim, "--data", data]
    assert "needs a virtual dataset" in failure(metaAttack, options, capsys)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--eps", "8"], "did you mean 8/255"),
        (["--eps", "x"], "--eps"),
        (["--side", "left"], "--side"),
        (["--rerank", "--dist_metric", "cosine"], "--rerank"),
        (["--split", "-1"], "--split"),
        (["--topk", "3"], "--topk is the length of rank lists; give a file as --rank-list"),
        (["--rank-list", "x.json", "--topk", "0"], "--topk: '0' is not a whole number of at least 1"),
        (["--rank-list", "x.csv"], "--rank-list x.csv is to be a file that ends in .json"),
        (["--rank-list", "results/x.json"], "--rank-list results/x.json is among the results"),
    ],
)
def test_wrong_evaluation_options(extra, words, victim, data, capsys):
    assert words in failure(evaluate, ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, *extra], capsys)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--attack", "nowhere.pth"], "no such perturbation file: nowhere.pth"),
        (["--eps", "8"], "did you mean 8/255"),
        (["--own-size", "--height", "8"], "leave --height and --width out"),
        (["--height", "0"], "--height"),
        (["--workers", "x"], "--workers"),
        (["--device", "cuda:77"], "--device cuda:77"),
        (["--precision", "bf16"], "no option is called --precision"),
        (["--out", __file__], "is a file; give a folder"),
    ],
)
def test_wrong_options_of_perturbed_folders(extra, words, attacker, data, tmp_path, capsys):
    options = [f"{data}/synth-a", "--attack", attacker, "--out", str(tmp_path / "out")]
    assert words in failure(apply, [*options, *extra], capsys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--resume", "nowhere.pth"], "no such checkpoint file: nowhere.pth"),
        (["--out", "features.csv"], "features.csv must end in .npz, .h5 or .hdf5"),
        (["--out", __file__], "must end in .npz"),
        (["--eps", "8/255"], "--eps is the budget of a perturbation; give one as --attack"),
        (["--attack", "nowhere.pth"], "no such perturbation file: nowhere.pth"),
        (["-a", "resnet18"], "is a resnet10, not a resnet18"),
        (["--batch_size", "0"], "--batch_size"),
        (["--precision", "fp8"], "--precision fp8"),
    ],
)
def test_wrong_options_of_extracted_features(extra, words, victim, data, tmp_path, capsys):
    options = [f"{data}/synth-a", "--resume", victim, "--out", str(tmp_path / "f.npz"), *SIZE]
    assert words in failure(extract, [*options, *extra], capsys)
    assert not list(tmp_path.iterdir())


def test_models_and_attackers_of_folders_mixed_up(victim, attacker, data, tmp_path, capsys):
    folder, out = f"{data}/synth-a", ["--out", str(tmp_path / "f.npz")]
    assert f"{victim} is not a perturbation file" in failure(apply, [folder, "--attack", victim, *out], capsys)
    assert attacker in failure(extract, [folder, "--resume", attacker, *out], capsys)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--to", "jpg"], "argument --to: 'jpg' is none of attacker"),
        (["--to", "cube", "--points", "18"], "'18' is none of 17, 25, 33, 49"),
        (["--to", "npy", "--unit", "gray"], "did you mean grey?"),
        (["--to", "npy", "--eps", "8"], "did you mean 8/255"),
        (["--to", "npy", "--points", "25"], "--points is for --to cube"),
        (["--to", "npy", "--unit", "grey"], "is no plain array"),
        (["--to", "npy", "--height", "0"], "--height"),
        (["--to", "npy", "--out", "."], "is there already"),
        ([], "--to"),
    ],
)
def test_wrong_options_of_converted_perturbations(extra, words, attacker, tmp_path, capsys):
    options = [attacker, "--out", str(tmp_path / "new"), *extra]
    assert words in failure(convert, options, capsys)
    assert not list(tmp_path.iterdir())


def test_a_picture_must_be_png(victim, attacker, data, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--attack", attacker, "--data", data, "--out", "picture.jpg"]
    assert "must end in .png" in failure(picture, options, capsys)


def test_a_page_must_be_html(tmp_path, capsys):
    assert "page.pdf must end in .html" in failure(report, [str(tmp_path), "-o", "page.pdf"], capsys)
    assert f"no results of clean images in {tmp_path}" in failure(report, [str(tmp_path)], capsys)
    assert "no such results folder" in failure(report, [str(tmp_path / "none")], capsys)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--restarts", "0"], "--restarts: '0' is not a whole number of at least 1"),
        (["--adaptive-epochs", "0"], "--adaptive-epochs"),
        (["--adaptive-iters", "x"], "--adaptive-iters"),
        (["--pgd-steps", "-1"], "--pgd-steps"),
        (["--learn-on", "mars"], "no dataset is called 'mars'"),
        (["-m", "mars"], "no dataset is called 'mars'"),
        (["--recipe", "maml"], "--recipe maml needs a virtual dataset: give -m"),
        (["--recipe", "mamel"], "'mamel' is none of maml, alternating, none, nearest"),
        (["--image-attack", "pdg"], "no image attack is called 'pdg'; did you mean pgd?"),
        (["--image-attack", "pgd:steps=0"], "an attack of 0 steps"),
        (["--image-attack", "pgd:momentum=1"], "pgd has no setting 'momentum', but eps, steps, restarts, seed"),
        (["--suite", "adaptiv"], "did you mean adaptive?"),
        (["--suite", "reid-smoke-v1", "--recipe", "none"], "--suite reid-smoke-v1 has fixed attacks; leave --recipe"),
        (["--transfer-from", "none.pth"], "no such checkpoint file: none.pth"),
        (["--eps", "8/255", "9"], "budget 9 is not in [0, 1]"),
        (["--batch_size", "9"], "--batch_size 9 is not a multiple of --num-instances 8"),
        (["--num-instances", "4"], "a batch of 16 identities x 4 images needs 16 identities, and"),
    ],
)
def test_wrong_adaptive_options(extra, words, victim, data, tmp_path, capsys):
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--adaptive", "--results", str(tmp_path)]
    assert words in failure(evaluate, [*options, *extra], capsys)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--attack", "nowhere.pth"], "no such perturbation file: nowhere.pth"),
        (["--image-attack", "pgd:stepz=3"], "pgd has no setting 'stepz'"),
    ],
)
def test_wrong_attacks_show_before_the_model_is_read(extra, words, tmp_path, capsys):
    options = ["-d", "synth-a", "--resume", str(tmp_path / "none.pth"), "--device", "cpu"]
    assert words in failure(evaluate, [*options, *extra], capsys)


def test_nothing_to_learn_an_adaptive_attack_on(victim, data, tmp_path, capsys, monkeypatch):
    with_few_training_identities(monkeypatch, "synth-a", 0)
    options = ["-d", "synth-a", "--resume", victim, "--data", data, *SIZE, "--adaptive", "--results", str(tmp_path)]
    line = failure(evaluate, options, capsys)
    assert "synth-a has no training images to learn attacks on; draw people" in line
    assert not list(tmp_path.iterdir())


@pytest.fixture
def defense(defense_options, tmp_path, capsys):
    """`defense(*extra)`: the line with which metaDefense.py refuses these options, having written nothing."""

    def refused(*extra):
        line = failure(metaDefense, [*defense_options, "--logs_dir", str(tmp_path / "logs"), *extra], capsys)
        assert not (tmp_path / "logs").exists()
        return line

    return refused


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (["--noise_path1"], "--noise_path1: expected at least one argument"),
        (["--attacker", "frozen"], "--attacker frozen needs one file as --noise_path1, not 0"),
        (["--noise_path1", "a.pth", "b.pth"], "--attacker frozen needs one file as --noise_path1, not 2"),
        (["--attacker", "pool"], "--attacker pool needs files: give --noise_path1"),
        (["--attacker", "pool", "--noise_path1", "a.pth", "b.pth"], "no such perturbation file: a.pth"),
        (["--attacker", "patch"], "--attacker"),
        (["--defense", "distillation"], "--defense"),
        (["--inner-order", "third"], "--inner-order"),
        (["--loss", "centre"], "--loss"),
        (["--attacker", "online", "--evaluate"], "--evaluate measures a defended model: give it as --resume_reid"),
        (["--attacker", "online", "--evaluate", "--resume_reid", "x.pth"], "with --attacker pool"),
        (["--attacker", "online", "--resume_reid", "x.pth"], "no such checkpoint file: x.pth"),
        (["--attacker", "online", "--resume-from", "nowhere/state.pth"], "no such checkpoint file"),
        (["--attacker", "online", "--noise_type", "3"], "--noise_type"),
        (["--attacker", "online", "--batch_size", "10"], "--batch_size 10 is not a multiple of --num-instances 4"),
        (["--attacker", "online", "-s", "mars"], "no dataset is called 'mars'"),
        (["--attacker", "online", "-m", "mars"], "no dataset is called 'mars'"),
        (["--attacker", "online", "--dist_metric", "hamming"], "--dist_metric"),
    ],
)
def test_wrong_defense_options(extra, words, defense):
    assert words in defense(*extra)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("0", "budget 0 allows no change"),
        ("300", "budget 300 is not in [0, 1]"),
        ("256/255", "budget 256/255 is not in [0, 1]"),
        ("-8/255", "budgets are not negative"),
        ("abc", "budget 'abc' is not a number"),
        ("nan", "budget nan is not in [0, 1]"),
        ("inf", "budget inf is not in [0, 1]"),
    ],
)
def test_wrong_largest_budget(bad, words, defense):
    assert f"--max-eps: {words}" in defense("--attacker", "online", "--max-eps", bad).replace("budget -8/255: ", "")


@pytest.mark.parametrize(
    ("option", "bad"),
    [
        ("--batch_size", "0"),
        ("--epochs", "0"),
        ("--epochs", "1.5"),
        ("--iters-per-epoch", "0"),
        ("--jitter", "-1"),
        ("--jitter", "inf"),
        ("--lr", "0"),
        ("--lr", "nan"),
        ("--lr", "inf"),
        ("--inner-lr", "-1"),
        ("--weight-decay", "-0.1"),
        ("--margin", "x"),
        ("--pgd-steps", "0"),
        ("--start_save", "-1"),
        ("--eval-every", "0"),
        ("--num-instances", "0"),
        ("--seed", "-1"),
    ],
)
def test_wrong_numbers_of_a_defense(option, bad, defense):
    line = defense("--attacker", "online", f"{option}={bad}")
    assert option in line
    assert f"'{bad}' is not" in line


def test_nothing_to_start_a_defense_from(data, tmp_path, capsys):
    options = ["-s", "synth-a", "-m", "synth-virtual", "--data", data, "--logs_dir", str(tmp_path / "logs")]
    assert "nothing to start from: give --resume" in failure(metaDefense, options, capsys)
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("name", ["mixed", "meta"])
def test_a_defense_on_two_sets_without_a_virtual_one(name, victim, data, capsys):
    options = ["-s", "synth-a", "--resume", victim, "--data", data, "--defense", name, "--attacker", "online"]
    assert f"--defense {name} needs a virtual dataset: give -m" in failure(metaDefense, options, capsys)


@pytest.mark.parametrize("name", ["mixed", "meta"])
def test_a_virtual_set_without_enough_identities_is_named(name, defense, monkeypatch):
    with_few_training_identities(monkeypatch, "synth-virtual", 1)
    line = defense("--defense", name, "--attacker", "online")
    assert "a batch of 2 identities x 4 images needs 2 identities, and synth-virtual has 1" in line


def test_an_attacker_file_of_another_threat(defense, attacker, tmp_path):
    line = defense("--noise_path1", attacker, "--noise_type", "2")
    assert f"{attacker} is of noise type 0, not 2; give --noise_type 0" in line
    line = defense("--noise_path1", attacker, "--max-eps", "4")
    assert f"{attacker} is another threat: colour 8/255 + delta 8/255 (total 16/255), query side" in line
    assert "more than --max-eps 4/255" in line
    large = attacks.save(tmp_path / "large.pth", attacks.create(2, eps_delta=8.5 / 255, height=32, width=32), {})
    assert f"{large} is another threat" in defense("--attacker", "pool", "--noise_path1", attacker, str(large))


def test_a_start_that_is_no_model_of_the_architecture(defense, victim, attacker, tmp_path):
    online = ["--attacker", "online"]
    line = defense(*online, "-a", "resnet18")
    assert line.startswith(f"error: {victim} is a resnet10")
    assert "resnet18" in line
    assert f"{attacker} is an attacker" in defense(*online, "--resume", attacker)
    assert "no such checkpoint file" in defense(*online, "--resume", str(tmp_path / "none.pth"))
    other = models.save_checkpoint(tmp_path / "other.pth", models.create("resnet18", 11, seed=0))
    assert "is a resnet18" in defense(*online, "-a", "resnet10", "--resume_reid", str(other))


def test_a_model_is_no_attacker(defense, victim):
    assert f"{victim} is not a perturbation file" in defense("--noise_path1", victim)


def finite(state):
    return all(value.isfinite().all() for value in state["network"].values())


def spoil_step(monkeypatch, number, spoil):
    """Let `spoil` change what the training step of this number (from 1) found."""
    real, calls = train.step_gradients, []

    def broken(*args):
        calls.append(1)
        step = real(*args)
        if len(calls) == number:
            spoil(step)
        return step

    monkeypatch.setattr(train, "step_gradients", broken)


def test_a_loss_that_is_not_finite_names_step_files_and_the_last_good_state(
    defense_options, attacker, tmp_path, capsys, monkeypatch
):
    options = [*defense_options, "--defense", "mixed", "--noise_path1", attacker, "--logs_dir", str(tmp_path)]
    spoil_step(monkeypatch, 4, lambda step: step.losses.update(loss_te=torch.tensor(float("nan"))))
    line = failure(metaDefense, options, capsys)
    assert "the loss is no longer finite (loss_te nan) at epoch 2, step 2" in line
    assert f"the last good state is {tmp_path / 'state.pth'}" in line
    assert "--lr (now 0.0002)" in line
    named = [word.rstrip(",;") for word in line.split() if word.rstrip(",;").endswith(".jpg")]
    assert len(named) == 16
    assert sum("/synth-a/" in path for path in named) == sum("/synth-virtual/" in path for path in named) == 8
    state = torch.load(tmp_path / "state.pth", weights_only=True)
    assert state["epoch"] == 1
    assert finite(state)


def test_a_learning_rate_that_is_far_too_large(defense_options, attacker, tmp_path, capsys):
    options = [*defense_options, "--defense", "adversarial", "--noise_path1", attacker, "--logs_dir", str(tmp_path)]
    line = failure(metaDefense, [*options, "--lr", "1e30"], capsys)
    assert "the loss is no longer finite (loss_tr nan, gradient nan) at epoch 1, step 2" in line
    assert "no epoch was finished before it; lower --lr (now 1e+30)" in line
    assert not list(tmp_path.glob("*.pth"))


def test_a_gradient_that_is_not_finite_never_gets_into_a_state(
    defense_options, attacker, tmp_path, capsys, monkeypatch
):
    """Not even in the last step of an epoch, after which no loss shows it any more."""
    options = [*defense_options, "--defense", "adversarial", "--noise_path1", attacker, "--logs_dir", str(tmp_path)]
    spoil_step(monkeypatch, 2, lambda step: step.gradients["model.feat.weight"].fill_(float("nan")))
    assert "at epoch 1, step 2" in failure(metaDefense, [*options, "--combine-trainval"], capsys)
    assert not list(tmp_path.glob("*.pth"))
