"""A tiny real and a tiny virtual dataset in raw Market layout, and a victim trained on the first."""

import pytest
from tiny_market import SIZE, draw


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("synth-a", "synth-b", "synth-virtual")):
        draw(root / name / "raw" / "Market-1501-v15.09.15", num_ids=24, cameras=2, seed=seed)
    return str(root)


@pytest.fixture(scope="session")
def train_options(data):
    options = ["-d", "synth-a", "-a", "resnet10", "--data", data, *SIZE, "--batch_size", "8", "--num-instances", "4"]
    return [*options, "--epochs", "3", "--iters-per-epoch", "2", "--eval-every", "1", "--lr", "1e-3"]


@pytest.fixture(scope="session")
def victim(train_options, tmp_path_factory) -> str:
    import trainReid

    logs = tmp_path_factory.mktemp("victim")
    trainReid.main([*train_options, "--logs_dir", str(logs)])
    return str(logs / "model_best.pth")


@pytest.fixture(scope="session")
def attack_options(data, victim):
    options = ["-s", "synth-a", "-m", "synth-virtual", "--resume", victim, "--data", data, *SIZE]
    return [*options, "--batch_size", "8", "--num-instances", "4", "--epoch", "3", "--iters-per-epoch", "2"]


@pytest.fixture(scope="session")
def attacker(attack_options, tmp_path_factory) -> str:
    import metaAttack

    folder = tmp_path_factory.mktemp("attacker")
    metaAttack.main([*attack_options, "--noise_resume", str(folder)])
    return str(folder / "best_perturbation2.pth")


@pytest.fixture(scope="session")
def defense_options(data, victim):
    """What every defence in these tests has; an attacker, a defence other than meta and --logs_dir come after it."""
    options = ["-s", "synth-a", "-m", "synth-virtual", "--resume", victim, "--data", data, *SIZE]
    options += ["--batch_size", "8", "--num-instances", "4", "--pgd-steps", "1", "--eval-every", "1"]
    return [*options, "--epochs", "2", "--iters-per-epoch", "2"]


@pytest.fixture(scope="session")
def online_options(defense_options):
    return [*defense_options, "--inner-order", "second", "--attacker", "online"]


@pytest.fixture(scope="session")
def defended(online_options, tmp_path_factory):
    """The folder of a meta defence, second order, with the online attacker, that nothing interrupted."""
    import metaDefense

    logs = tmp_path_factory.mktemp("defended")
    metaDefense.main([*online_options, "--logs_dir", str(logs)])
    return logs


@pytest.fixture
def plan_scores(monkeypatch):
    """Gives the models in training these scores on validation identities, one after the other; the card has others."""
    from reid.evaluation import retrieval

    def plan(scores):
        left = iter(scores)

        def validation(*_, attacks=None, **__):
            return lambda: next(left) if attacks else {"val_mAP": 0.5}

        monkeypatch.setattr(retrieval, "validation", validation)

    return plan
