"""The defence as a user runs it: what metaDefense.py leaves, what each option does, and evaluate.py --adaptive."""

import json
import shutil

import pytest
import torch
from tiny_market import SIZE

import evaluate
import metaDefense
import trainReid
from reid import UsageError, attacks, datasets, models, training
from reid.evaluation import Retrieval, relearning, retrieval
from reid.evaluation.results import read_results
from reid.loading import Images, store
from reid.runtime.device import resolve
from reid.runtime.files import sha256
from reid.runtime.torchfiles import read_torch
from reid.training import trainer as train


@pytest.fixture(scope="module")
def defend(defense_options, attacker, tmp_path_factory):
    """`defend(*extra)`: the folder of a new defence: adversarial, frozen attacker, one step, unless extra says else."""

    def run(*extra):
        logs = tmp_path_factory.mktemp("logs")
        frozen = [] if "--attacker" in extra else ["--noise_path1", attacker]
        options = [*defense_options, "--defense", "adversarial", *frozen, "--logs_dir", str(logs)]
        metaDefense.main([*options, "--epochs", "1", "--iters-per-epoch", "1", *extra])
        return logs

    return run


@pytest.fixture(scope="module")
def usual(defend):
    """Weights of such a defence."""
    return weights(defend())


@pytest.fixture(scope="module")
def usual_meta(defend):
    """The same for the meta-learned one."""
    return weights(defend("--defense", "meta"))


def weights(folder):
    return read_torch(folder / "model_best.pth")["state_dict"]


def same(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items() if value.shape == second[name].shape)


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def reported(caplog):
    """(words before "mAP", mAP) of each line that was logged about query and gallery, at full precision."""
    return [record.args for record in caplog.records if record.name == "reid.evaluation.retrieval" and record.args]


def watch_batches(monkeypatch):
    """The batches of all steps to come."""
    seen, real = [], train.step_gradients

    def step(loss_of, weights, *batches_and_inner):
        seen.append([batch for batch in batches_and_inner[:2] if batch is not None])
        return real(loss_of, weights, *batches_and_inner)

    monkeypatch.setattr(train, "step_gradients", step)
    return seen


def watch_images(monkeypatch):
    """Paths of all image files that are decoded from now on."""
    paths, real = [], store._decode
    monkeypatch.setattr(store, "_decode", lambda path, *size: (paths.append(path), real(path, *size))[1])
    return paths


class TestWhatIsLeft:
    def test_a_model_that_loads_a_state_and_logs(self, defended):
        model, report = models.load_model(defended / "model_best.pth")
        assert (model.arch, model.num_classes) == ("resnet10", 11)
        assert not report.missing + report.unexpected + report.mismatched
        left = {path.name.split(".")[0] for path in defended.iterdir()}
        assert left == {"model_best", "card", "state", "log", "metrics", "events"}

    def test_the_head_of_the_virtual_identities_is_in_the_state_alone(self, defended):
        state = read_torch(defended / "state.pth")
        assert len(state["network"]["virtual_head.weight"]) == 11
        assert not any("virtual" in name for name in weights(defended))

    def test_the_released_envelope_with_what_made_it(self, defended):
        content = read_torch(defended / "model_best.pth")
        assert {"state_dict", "epoch", "best_top1"} <= content.keys()
        assert (content["trained_on"], content["height"], content["width"]) == ("synth-a", 32, 32)
        assert (content["settings"]["defense"], content["settings"]["inner_order"]) == ("meta", "second")

    def test_one_line_of_numbers_per_epoch(self, defended):
        assert [line["epoch"] for line in metrics(defended)] == [0, 1]
        for line in metrics(defended):
            assert {"loss_tr", "loss_te", "precision", "lr", "val_mAP", "val_attacked"} <= line.keys()

    def test_the_batch_statistics_are_those_of_the_source(self, defend, victim):
        before, after = read_torch(victim)["state_dict"], weights(defend("--defense", "none"))
        assert not torch.equal(before["base.bn1.running_mean"], after["base.bn1.running_mean"])


class TestSelection:
    @pytest.mark.parametrize(
        ("scores", "best"),
        [
            ([(0.5, 0.1), (0.3, 0.5), (0.6, 0.1)], 2),
            ([(0.2, 0.2), (0.1, 0.3)], 2),
            ([(0.2, 0.2), (0.3, 0.0)], 1),
        ],
    )
    def test_the_epoch_with_the_best_mean_of_clean_and_attacked_is_kept(self, scores, best, defend, plan_scores):
        plan_scores({"val_mAP": clean, "val_attacked": attacked} for clean, attacked in scores)
        content = read_torch(defend("--epochs", str(len(scores))) / "model_best.pth")
        assert content["epoch"] == best
        assert content["best_top1"] == pytest.approx(sum(scores[best - 1]) / 2)

    def test_the_scores_are_map_on_the_validation_identities(self, defend, attacker, data, monkeypatch):
        create = datasets.create

        def with_six_to_validate_on(*args, **kwargs):
            dataset = create(*args, **kwargs)
            dataset.train = [sample for sample in dataset.trainval if sample.pid > 6]
            dataset.val = [sample for sample in dataset.trainval if sample.pid <= 6]
            return dataset

        monkeypatch.setattr(datasets, "create", with_six_to_validate_on)
        logs = defend("--epochs", "2")
        model, _ = models.load_model(logs / "model_best.pth")
        images = Images(32, 32, workers=1)
        samples = retrieval.validation_samples(datasets.create("synth-a", data))
        scores = Retrieval(models.Victim(model), images.stores(samples), resolve("cpu", "fp32"))
        clean, attacked = (scores.score(attack).ranking.mAP for attack in (None, attacks.load(attacker)))
        assert len({1.0, clean, attacked}) == 3
        content = read_torch(logs / "model_best.pth")
        line = metrics(logs)[content["epoch"] - 1]
        assert line["val_mAP"] == pytest.approx(clean, abs=1e-6)
        assert line["val_attacked"] == pytest.approx(attacked, abs=1e-6)
        assert content["best_top1"] == max((line["val_mAP"] + line["val_attacked"]) / 2 for line in metrics(logs))

    def test_both_scripts_select_in_fp32_whatever_they_train_in(self, train_options, defend, monkeypatch, tmp_path):
        precisions, stores = [], []

        def validation(model, sides, compute, *others, **options):
            precisions.append(compute.precision)
            stores.append(sides)
            return lambda: {"val_mAP": 0.5}

        monkeypatch.setattr(retrieval, "validation", validation)
        bf16 = ["--precision", "bf16", "--epochs", "1", "--iters-per-epoch", "1"]
        trainReid.main([*train_options, *bf16, "--logs_dir", str(tmp_path)])
        defend(*bf16)
        assert precisions == ["fp32"] * 3
        assert stores[1] is stores[2]  # decoded once for what chooses and for the card

    def test_query_and_gallery_are_read_once_at_the_end(self, defend, data, monkeypatch):
        read, report, before = watch_images(monkeypatch), retrieval.log_scores, []
        monkeypatch.setattr(retrieval, "log_scores", lambda *args: (before.extend(read), report(*args)))
        defend("--epochs", "2")
        dataset = datasets.create("synth-a", data)
        train, val, query, gallery = (
            {sample.path for sample in part} for part in (dataset.train, dataset.val, dataset.query, dataset.gallery)
        )
        assert val < set(before) < train | val
        assert sorted(read[len(before) :]) == sorted(query | gallery)


class TestOptions:
    """Every released option has an effect."""

    @pytest.mark.parametrize(
        "extra",
        [
            ["--lr", "1e-3"],
            ["--weight-decay", "0.5"],
            ["--margin", "5"],
            ["--loss", "triplet"],
            ["--batch_size", "16"],
            ["--num-instances", "2"],
            ["--epochs", "2"],
            ["--iters-per-epoch", "2"],
            ["--seed", "1"],
            ["-s", "synth-b"],
            ["--defense", "none"],
            ["--attacker", "online"],
            ["--attacker", "pgd"],
        ],
        ids=" ".join,
    )
    def test_what_changes_the_weights(self, extra, usual, defend):
        assert not same(usual, weights(defend(*extra)))

    @pytest.mark.parametrize(
        "extra",
        [["-m", "synth-b"], ["--inner-order", "second"], ["--inner-lr", "0.01"], ["--defense", "mixed"]],
        ids=" ".join,
    )
    def test_what_changes_the_weights_of_a_meta_defence(self, extra, usual_meta, defend):
        assert not same(usual_meta, weights(defend("--defense", "meta", *extra)))

    def test_checkpointing_gives_the_same_weights(self, usual, usual_meta, defend):
        assert same(usual, weights(defend("--checkpointing")))
        assert same(usual_meta, weights(defend("--checkpointing", "--defense", "meta")))
        second = ["--defense", "meta", "--inner-order", "second"]
        kept, again = weights(defend(*second)), weights(defend(*second, "--checkpointing"))
        # rounding turns the step of Adam where the gradient is nearly zero, whatever the tolerance
        moved = [(value - kept[name]).abs() > 1e-4 for name, value in again.items()]
        assert torch.cat([each.flatten() for each in moved]).float().mean() < 0.001

    def test_the_attacker_file_decides(self, usual, defend, tmp_path):
        noise = attacks.controls.random_both(attacks.Threat(8 / 255, 8 / 255), 3, 32, 32)
        other = attacks.save(tmp_path / "other.pth", noise, {})
        assert not same(usual, weights(defend("--noise_path1", str(other))))

    def test_the_same_images_elsewhere_and_more_workers_give_the_same_weights(self, usual, defend, data, tmp_path):
        shutil.copytree(data, tmp_path / "moved")
        assert same(usual, weights(defend("--data", str(tmp_path / "moved"), "--workers", "1")))

    def test_the_logs_go_below_the_defended_models_by_themselves(
        self, defense_options, attacker, tmp_path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        options = [*defense_options, "--defense", "adversarial", "--noise_path1", attacker, "--epochs", "1"]
        metaDefense.main([*options, "--iters-per-epoch", "1"])
        assert (tmp_path / "defenseModel" / "synth-a-adversarial-frozen" / "0" / "model_best.pth").is_file()

    @pytest.mark.parametrize(
        ("name", "virtual", "perturbed"),
        [("none", [False], 0), ("adversarial", [False], 6), ("mixed", [False, True], 6), ("meta", [False, True], 6)],
    )
    def test_batches_are_identities_times_instances_and_a_perturbed_half(
        self, name, virtual, perturbed, defend, monkeypatch
    ):
        seen = watch_batches(monkeypatch)
        defend("--defense", name, "--batch_size", "12", "--num-instances", "2")
        (batches,) = seen
        assert [batch.virtual for batch in batches] == virtual
        for batch in batches:
            assert len(batch.clean) == 12
            assert (0 if batch.perturbed is None else len(batch.perturbed)) == perturbed
            assert batch.labels[:12].unique(return_counts=True)[1].tolist() == [2] * 6

    @pytest.mark.parametrize(("noise_type", "levels"), [(0, 2), (1, 6), (2, 0.5)])
    def test_the_online_attacker_is_of_its_type_and_within_the_largest_budget(self, noise_type, levels, defend):
        logs = defend("--attacker", "online", "--noise_type", str(noise_type), "--max-eps", f"{levels}/255")
        held = read_torch(logs / "state.pth")["adversary"]["noise"]
        eps = levels / 255
        noise = attacks.create(noise_type, eps, eps, 32, 32)
        assert held.keys() == noise.state_dict().keys()
        boxes = noise.boxes()
        for name, value in held.items():
            assert (value >= boxes[name].lower).all()
            assert (value <= boxes[name].upper).all()
            assert (value - noise.state_dict()[name]).abs().max() > 0.9 * eps

    @pytest.mark.parametrize("attacker_name", ["online", "pgd"])
    def test_perturbed_images_are_within_the_largest_budget(self, attacker_name, defend, monkeypatch):
        seen = watch_batches(monkeypatch)
        defend("--attacker", attacker_name, "--noise_type", "2", "--max-eps", "2")
        (batch,) = seen[0]
        moved = (batch.perturbed.detach() - batch.clean[::2]).abs().amax((1, 2, 3))
        assert (moved > 0).all()
        assert moved.max() <= 2 / 255 + 1e-6

    def test_all_identities_train_and_the_last_epoch_is_kept(self, defend, monkeypatch):
        monkeypatch.setattr(retrieval, "validation", None)  # nothing may call it
        seen = watch_batches(monkeypatch)
        logs = defend("--combine-trainval", "--defense", "mixed", "--epochs", "2")
        content = read_torch(logs / "model_best.pth")
        assert (content["num_classes"], content["epoch"]) == (12, 2)
        assert len(read_torch(logs / "state.pth")["network"]["virtual_head.weight"]) == 12
        assert not any(name.startswith("val_") for line in metrics(logs) for name in line)
        assert len(seen) == 2

    def test_no_epoch_before_start_save_is_kept(self, defend, plan_scores):
        plan_scores({"val_mAP": mAP} for mAP in (0.9, 0.2, 0.3, 0.1))
        assert read_torch(defend("--epochs", "4", "--start_save", "1") / "model_best.pth")["epoch"] == 3

    def test_the_last_epoch_is_kept_when_all_come_before_start_save(self, defend):
        assert read_torch(defend("--epochs", "2", "--start_save", "9") / "model_best.pth")["epoch"] == 2

    def test_validation_comes_every_few_epochs_and_after_the_last(self, defend):
        lines = metrics(defend("--epochs", "3", "--eval-every", "2"))
        assert ["val_mAP" in line and "val_attacked" in line for line in lines] == [False, True, True]

    def test_the_architecture_is_that_of_the_start(self, defend, tmp_path):
        other = models.save_checkpoint(tmp_path / "other.pth", models.create("resnet18", 11, seed=0))
        assert models.load_model(defend("--resume", str(other)) / "model_best.pth")[0].arch == "resnet18"
        assert models.load_model(defend("-a", "resnet10") / "model_best.pth")[0].arch == "resnet10"

    def test_images_are_of_the_size_of_the_start_unless_the_options_say_another(self, defense_options, tmp_path):
        place = defense_options.index("--height")
        options = [*defense_options[:place], *defense_options[place + 4 :], "--defense", "none", "--epochs", "1"]
        for name, extra, size in (("own", [], (32, 32)), ("other", ["--width", "16"], (32, 16))):
            metaDefense.main([*options, *extra, "--logs_dir", str(tmp_path / name)])
            content = read_torch(tmp_path / name / "model_best.pth")
            assert (content["height"], content["width"]) == size

    def test_a_defended_model_is_gone_on_with(self, defend, defended):
        """With a rate too small to move any weight, training ends where it started."""
        start = weights(defended)
        model = weights(defend("--resume_reid", str(defended / "model_best.pth"), "--lr", "1e-30"))
        for name in ("base.conv1.weight", "base.layer4.0.conv2.weight", "feat.weight", "classifier_x2.weight"):
            assert torch.equal(model[name], start[name])


class TestReport:
    @pytest.fixture
    def evaluated(self, defense_options, defended, tmp_path, monkeypatch, caplog):
        """`evaluated(*extra)`: what metaDefense.py --evaluate logs about the defended model."""
        caplog.set_level("INFO")
        monkeypatch.chdir(tmp_path)

        def run(*extra):
            caplog.clear()
            model = str(defended / "model_best.pth")
            metaDefense.main([*defense_options, "--evaluate", "--resume_reid", model, *extra])
            return reported(caplog)

        return run

    def test_evaluation_trains_nothing_and_writes_nothing(self, evaluated, attacker, tmp_path, monkeypatch):
        monkeypatch.setattr(training, "Trainer", None)  # nothing may call it
        lines = evaluated("--noise_path1", attacker)
        assert len(lines) == 2
        assert lines[0][:2] == ("synth-a", "clean")
        assert not list(tmp_path.iterdir())

    def test_the_scores_are_those_of_evaluate(self, evaluated, defended, attacker, data, tmp_path):
        options = ["-d", "synth-a", "--resume", str(defended / "model_best.pth"), "--attack", attacker, "--data", data]
        evaluate.main([*options, *SIZE, "--results", str(tmp_path / "r")])
        results = [r for r in read_results(tmp_path / "r") if r.attack["name"] == "clean" or r.attack["sha256"]]
        wanted = sorted(result.metrics["mAP"] for result in results)
        found = sorted(line[2] for line in evaluated("--noise_path1", attacker))
        assert found == pytest.approx(wanted, abs=1e-6)

    def test_another_distance_gives_other_scores(self, evaluated, attacker):
        scores = [
            [line[2] for line in evaluated("--noise_path1", attacker, "--dist_metric", metric)]
            for metric in ("euclidean", "cosine")
        ]
        assert scores[0][0] != scores[1][0]

    def test_every_file_and_every_attack_on_images_has_a_line(self, evaluated, attacker):
        files = [attacker, attacker.replace("2.pth", "0.pth")]
        assert len(evaluated("--attacker", "pool", "--noise_path1", *files)) == 3
        assert len(evaluated("--attacker", "pgd")) == 2

    def test_a_set_to_evaluate_on_need_have_no_training_images(self, evaluated, monkeypatch):
        create = datasets.create

        def query_and_gallery_only(*args, **kwargs):
            dataset = create(*args, **kwargs)
            dataset.train, dataset.val, dataset.trainval = [], [], []
            return dataset

        whole = evaluated("--attacker", "pgd")
        monkeypatch.setattr(datasets, "create", query_and_gallery_only)
        assert evaluated("--attacker", "pgd") == whole

    def test_it_follows_training(self, defend, attacker, caplog):
        caplog.set_level("INFO")
        defend()
        assert [line[:2] for line in reported(caplog)] == [("synth-a", "clean"), ("synth-a", attacker)]


def test_a_defended_resMeta_evaluates_and_so_does_one_in_the_released_envelope(defend, data, tmp_path, capsys):
    start = models.save_checkpoint(tmp_path / "start.pth", models.create("resMeta", 11, seed=0))
    ours = defend("-a", "resMeta", "--resume", str(start), "--combine-trainval") / "model_best.pth"
    content = read_torch(ours)
    assert (content["arch"], content["num_classes"]) == ("resMeta", 12)
    state = {f"module.{name}": value for name, value in content["state_dict"].items()}
    assert "module.classifier.weight" in state
    released = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": state, "epoch": 85, "best_top1": 0.8}, released)
    metrics_of = []
    for i, path in enumerate((ours, released)):
        options = ["-d", "synth-a", "-a", "resMeta", "--resume", str(path), "--data", data, *SIZE]
        evaluate.main([*options, "--results", str(tmp_path / str(i))])
        assert f"{path} (resMeta) on synth-a" in capsys.readouterr().out
        metrics_of.append({r.attack["name"]: r.metrics for r in read_results(tmp_path / str(i))})
    assert metrics_of[0] == metrics_of[1]


class TestAdaptive:
    @pytest.fixture
    def options(self, defended, data):
        options = ["-d", "synth-a", "--resume", str(defended / "model_best.pth"), "--data", data, *SIZE, "--adaptive"]
        options += ["--batch_size", "8", "--num-instances", "4", "--pgd-steps", "2"]
        return [*options, "--restarts", "2", "--adaptive-epochs", "1", "--adaptive-iters", "1"]

    @pytest.fixture
    def adaptive(self, options, attacker, tmp_path):
        """`adaptive(folder, *extra)`: what evaluate.py --adaptive leaves: results by name, and attacker files."""

        def run(folder, *extra):
            evaluate.main([*options, "--attack", attacker, "--results", str(tmp_path / folder), *extra])
            results = {result.attack["name"]: result for result in read_results(tmp_path / folder)}
            return results, sorted((tmp_path / folder / "attackers").iterdir())

        return run

    def test_adds_the_restarts_and_pgd_to_the_results(self, adaptive, capsys):
        results, files = adaptive("r")
        printed = capsys.readouterr().out
        relearnt = [f"re-learnt type 0, restart {restart} of 2" for restart in (1, 2)]
        assert {"clean", "pgd 8/255, 2 steps", *relearnt} <= results.keys()
        assert all(name in printed for name in results)
        learnt_on = results["clean"].victim["sha256"]
        for name, path in zip(relearnt, files, strict=True):
            result, noise = results[name], attacks.load(path)
            assert noise.threat == attacks.Threat(8 / 255, 8 / 255)
            assert result.threat == noise.threat.to_dict()
            assert result.attack["learnt_on"] == noise.provenance["victim_sha256"] == learnt_on
            assert [check["name"] for check in result.checks] == ["budget", "converged"]
            assert "of identities held out" in result.checks[1]["detail"]
            assert result.spent["total"] <= 16 / 255 + 1e-6
        worst = min(results[name].metrics["mAP"] for name in relearnt)
        assert f"worst of the re-learnt attacks: mAP {100 * worst:.1f}" in printed
        pgd = results["pgd 8/255, 2 steps"]
        assert pgd.threat == {"eps_color": 0.0, "eps_delta": 8 / 255, "side": "query"}
        assert [check["name"] for check in pgd.checks] == ["budget"]
        assert 0 < pgd.spent["total"] <= 8 / 255 + 1e-6
        assert (pgd.attack["sha256"], pgd.attack["kind"]) == (None, "image")

    def test_learns_the_threat_of_the_attacker(self, adaptive, tmp_path):
        delta = attacks.save(tmp_path / "delta.pth", attacks.create(2, eps_delta=4 / 255, height=32, width=32), {})
        for path in adaptive("r", "--attack", str(delta))[1]:
            noise = attacks.load(path)
            assert (noise.noise_type, noise.threat) == (2, attacks.Threat(0.0, 4 / 255))

    def test_learns_for_the_side_and_at_equal_total(self, adaptive):
        _, files = adaptive("r", "--equal-total", "--side", "both", "--restarts", "1", "--recipe", "nearest")
        threats = [attacks.load(path).threat for path in files]
        assert threats == [attacks.Threat(8 / 255, 8 / 255, "both"), attacks.Threat(0.0, 16 / 255, "both")]

    def test_starts_at_other_perturbations(self, adaptive, attacker):
        results, files = adaptive("r", "--warm-start", attacker, "--restarts", "1")
        assert "re-learnt type 0, restart 2 of 2" in results
        assert {attacks.load(path).provenance.get("warm_start") for path in files} == {None, sha256(attacker)}

    def test_refuses_to_start_at_one_that_the_model_was_trained_on(self, defend, attacker, options, tmp_path):
        options = [*options, "--resume", str(defend() / "model_best.pth"), "--results", str(tmp_path)]
        with pytest.raises(UsageError, match="the model was trained on this perturbation"):
            evaluate.main([*options, "--warm-start", attacker])

    @pytest.mark.parametrize("extra", [["--equal-total"], ["--warm-start", "some.pth"]])
    def test_refuses_settings_of_re_learning_without_it(self, extra, options):
        with pytest.raises(UsageError, match="are for re-learning; give a --recipe"):
            evaluate.main([*options, "--suite", "given", *extra])

    def test_learns_at_the_budget_of_the_option(self, adaptive):
        results, files = adaptive("r", "--eps", "2/255", "--restarts", "1")
        assert [attacks.load(path).threat for path in files] == [attacks.Threat(2 / 255, 2 / 255)]
        assert results["pgd 2/255, 2 steps"].threat["eps_delta"] == 2 / 255

    def test_learns_the_usual_threat_without_an_attacker(self, options, tmp_path):
        evaluate.main([*options, "--restarts", "1", "--results", str(tmp_path)])
        (path,) = (tmp_path / "attackers").iterdir()
        assert attacks.load(path).threat == attacks.Threat(8 / 255, 8 / 255)

    def test_the_same_seed_gives_the_same_results(self, adaptive):
        first, second = (adaptive(folder, "--restarts", "1", "--seed", "3") for folder in "ab")
        assert [path.name for path in first[1]] == [path.name for path in second[1]]
        assert {name: r.metrics for name, r in first[0].items()} == {name: r.metrics for name, r in second[0].items()}
        assert {r.file_name for r in first[0].values()} == {r.file_name for r in second[0].values()}

    def test_reuse_learns_and_measures_nothing_again(self, adaptive, tmp_path):
        adaptive("r")
        times = {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*") if path.is_file()}
        adaptive("r", "--reuse")
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "r").rglob("*") if path.is_file()} == times

    def test_reuse_learns_again_on_other_images(self, adaptive):
        adaptive("r", "--restarts", "1")
        assert len(adaptive("r", "--restarts", "1", "--reuse", "--learn-on", "synth-b")[1]) == 2

    def test_a_set_without_training_images_is_mended_by_another_to_learn_on(self, adaptive, monkeypatch):
        create = datasets.create

        def poor(*args, **kwargs):
            dataset = create(*args, **kwargs)
            if dataset.name == "synth-a":
                dataset.trainval = []
            return dataset

        monkeypatch.setattr(datasets, "create", poor)
        assert len(adaptive("r", "--restarts", "1", "--learn-on", "synth-b")[1]) == 1

    def test_query_and_gallery_are_not_learnt_from(self, adaptive, data, monkeypatch):
        learnt_from, real = [], relearning.clean_batches

        def watched(name, store, *others, **more):
            learnt_from.extend(store.samples)
            return real(name, store, *others, **more)

        monkeypatch.setattr(relearning, "clean_batches", watched)
        adaptive("r", "--restarts", "1")
        assert {sample.path for sample in learnt_from} == {s.path for s in datasets.create("synth-a", data).trainval}
