"""The shell entry points refuse what cannot work in one line, and take an environment that fits as it is."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(script, *options, **environment):
    command = ["bash", str(ROOT / script), *options]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment, cwd="/")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["x"], "the seed 'x' is not a whole number"),
        (["-1"], "the seed '-1' is not a whole number"),
        (["--model", "a.pth", "1.5"], "the seed '1.5' is not a whole number"),
        (["--model"], "--model wants a model"),
        (["--model", "--defend"], "--model wants a model"),
        (["--defend"], "--defend and --preprocessing want a model: --model SPEC"),
        (["--defend", "3"], "--defend and --preprocessing want a model: --model SPEC"),
        (["--preprocessing", "half"], "--defend and --preprocessing want a model: --model SPEC"),
        (["--model", "a.pth", "--preprocessing"], "--preprocessing wants a name"),
        (
            ["--preprocessing", "auto", "--model", "a.pth", "--defend"],
            "--defend tries by itself where a model does not say; leave auto out",
        ),
        (["--model", "a.pth", "--preprocessing", "--defend"], "--preprocessing wants a name"),
        (["--model", "a.pth", "--defended"], "no option is called --defended"),
        (["1", "2"], "'2' is one argument too many"),
        (["--model", "a.pth", "--defend", "1", "b.pth"], "'b.pth' is one argument too many"),
    ],
)
def test_the_demo_refuses_what_it_does_not_know(options, words):
    done = run("runDemo.sh", *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr == f"error: {words}; run: bash runDemo.sh [--model SPEC [--preprocessing NAME] [--defend]] [SEED]\n"
    )


def test_the_demo_says_how_it_is_called():
    done = run("runDemo.sh", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "bash runDemo.sh --model SPEC --defend " in done.stdout
    assert not {"#", "set"} & {line.split()[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("script", ["runDemo.sh", "runTests.sh"])
def test_a_python_that_does_not_meet_the_requirements(script, tmp_path):
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S -I "$@"\n')
    bare.chmod(0o755)
    done = run(script, REID_PYTHON=str(bare))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: REID_PYTHON={bare} does not meet requirements")
    assert done.stderr.count("\n") == 1


def test_a_python_that_meets_them_is_used_as_it_is():
    line = f'source "{ROOT}/environment.sh" "{ROOT}/requirements.txt" && echo "$PYTHON"'
    environment = os.environ | {"REID_PYTHON": sys.executable}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, sys.executable, "")


@pytest.fixture
def stub(tmp_path, monkeypatch):
    """Files that the scripts need, and a Python that records what it is called with: `stub()` lists that."""
    record, python = tmp_path / "calls", tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase $1 in - | -c) ;; *) echo "$@" >> {record} ;; esac\n')
    python.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "model.pth").touch()
    for noise_type in "012":
        folder = tmp_path / "attack" / noise_type
        folder.mkdir(parents=True)
        for epoch in (0, 4, 9, 10):
            (folder / f"best_perturbation{epoch}.pth").touch()
    places = {"REID_PYTHON": python, "DATA_DIR": tmp_path / "data", "NOISE_MODEL_PATH": tmp_path / "attack"}
    places |= {"SOURCE_NET_DIR": tmp_path / "model.pth", "TARGET_NET_DIR": tmp_path / "model.pth"}
    for name, path in places.items():
        monkeypatch.setenv(name, str(path))
    return lambda: record.read_text().splitlines() if record.exists() else []


def calls(stub, script, **settings):
    """The lines with which a script called Python."""
    done = run(script, **settings)
    assert (done.returncode, done.stderr) == (0, "")
    return stub()


def refused(script, **settings):
    done = run(script, **settings)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def browserless(folder, apt):
    """A PATH with what a script needs, without Chromium, where apt-get is the program `apt`."""
    for name in ("bash", "dirname", "id", "cat", "chmod", "touch"):
        (folder / name).symlink_to(shutil.which(name))
    (folder / "apt-get").write_text(f"#!/bin/sh\n{apt}\n")
    (folder / "apt-get").chmod(0o755)
    return str(folder)


@pytest.fixture
def bin(tmp_path):
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin"


def test_without_chromium_where_it_cannot_be_installed(stub, bin):
    done = run("runTests.sh", "--browser", PATH=browserless(bin, "exit 100"))
    assert (done.returncode, done.stdout) == (2, "")
    *_, line = done.stderr.splitlines()
    assert line.startswith("error: no chromium, and it cannot be installed here; as root on Debian: apt-get update && ")
    assert stub() == []


@pytest.mark.skipif(os.getuid() != 0, reason="only root can install")
def test_chromium_is_installed_once_and_then_pages_are_opened(stub, bin):
    path = browserless(
        bin, f'case "$*" in *"install -y chromium") touch {bin}/chromium; chmod +x {bin}/chromium;; esac'
    )
    for said in ("installing chromium (once, a minute or two)\n", ""):
        done = run("runTests.sh", "--browser", "--approve", PATH=path)
        assert (done.returncode, done.stderr) == (0, said)
    assert stub() == ["-m pytest -n 2 --dist loadfile -m browser tests/browser --approve"] * 2


@pytest.mark.parametrize("script", sorted(path.name for path in ROOT.glob("run*.sh")))
def test_scripts_can_be_called_by_name(script):
    assert os.access(ROOT / script, os.X_OK)


@pytest.mark.parametrize("script", ["runAttackMar.sh", "runAttackDuke.sh", "runDefenseMar.sh", "runDefenseDuke.sh"])
@pytest.mark.parametrize("name", ["SOURCE_NET_DIR", "DATA_DIR"])
def test_missing_files_are_named_before_packages_are_installed(script, name, stub, tmp_path):
    fewer = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REID_PYTHON": "", name: "./nowhere"}
    (tmp_path / "python3").symlink_to("/bin/false")  # meets no requirements, so that packages would be installed
    line = refused(script, **fewer)
    assert line.startswith("error: no ./nowhere; the first lines of run")
    assert stub() == []


def test_missing_attackers_are_named_before_a_defense(stub, tmp_path):
    line = refused("runDefenseMar.sh", NOISE_MODEL_PATH=str(tmp_path))
    assert line.startswith(f"error: no {tmp_path}/0/best_perturbation*.pth; ")
    assert stub() == []


def test_several_attackers_are_several_words(stub):
    lines = calls(stub, "runDefenseMar.sh", ATTACKER="frozen online pgd", DEFENSE="mixed")
    assert len(lines) == 6
    assert all("--attacker frozen online pgd --noise_path1" in line for line in lines[::2])


def test_a_defense_takes_the_attacker_of_the_last_epoch_or_the_named_one(stub, tmp_path):
    last = [f"{tmp_path}/attack/{noise_type}/best_perturbation10.pth" for noise_type in "012" for _ in range(2)]
    for line, path in zip(calls(stub, "runDefenseMar.sh"), last, strict=True):
        assert path in line
    for line in calls(stub, "runDefenseDuke.sh", NOISE_FILE="best_perturbation4.pth")[6:]:
        assert "best_perturbation4.pth" in line


def test_epochs_of_attack_and_defense_are_two_settings(stub):
    epochs = {"ATTACK_EPOCHS": "7", "DEFENSE_EPOCHS": "40"}
    lines = calls(stub, "runAttackMar.sh", **epochs)
    assert all("--epoch 7 " in line for line in lines[:3])
    assert all("best_perturbation6.pth" in line for line in lines[3:])
    lines = calls(stub, "runDefenseMar.sh", **epochs)
    assert all("--epochs 40 " in line for line in lines[5::2])


@pytest.mark.parametrize("script", ["runAttackMar.sh", "runDefenseMar.sh"])
def test_one_number_for_both_is_refused(script, stub):
    name = "ATTACK_EPOCHS" if "Attack" in script else "DEFENSE_EPOCHS"
    assert refused(script, EPOCHS="5") == f"error: EPOCHS is not read here; set {name} instead"


@pytest.fixture
def demo(tmp_path):
    """`demo(*options)`: runDemo.sh of a checkout of its own, called in a folder that has a model."""
    (tmp_path / "my model.onnx").touch()
    (tmp_path / "checkout").mkdir()
    for name in ("runDemo.sh", "environment.sh"):
        shutil.copy(ROOT / name, tmp_path / "checkout")
    command = ["bash", str(tmp_path / "checkout" / "runDemo.sh")]
    settings = {"capture_output": True, "text": True, "cwd": tmp_path, "timeout": 120}
    return lambda *options: subprocess.run([*command, *options], **settings)


def test_a_lane_of_the_demo_does_not_wait_for_one_that_failed(demo, stub, tmp_path):
    (tmp_path / "checkout" / "runs/demo/A").mkdir(parents=True)
    python = tmp_path / "python"
    python.write_text(f"{python.read_text()}case $1 in metaAttack.py) echo 'error: no batch' >&2; exit 2;; esac\n")
    done = demo()
    assert done.returncode != 0
    assert "error: no batch\n" in done.stderr
    assert not any("reid-smoke-v1" in line for line in stub())


def test_the_demo_judges_a_model_of_the_users_own(demo, stub, tmp_path):
    done = demo("--model", "my model.onnx", "3")
    assert (done.returncode, done.stderr) == (0, "")
    draw, judge = stub()
    assert draw == "-m reid.synthperson synth-a --root runs/demo-seed3/data --seed 3"
    assert f"--resume {tmp_path}/my model.onnx --seed 3 --suite reid-fast-v1" in judge
    assert judge.endswith("--results runs/demo-seed3-models/my_model.onnx --reuse")


@pytest.mark.parametrize(
    ("reading", "given"),
    [("half", "half"), ("own/bot", "own/bot"), ("my own.json@96x48", "{}/my own.json@96x48")],
)
def test_the_demo_is_told_how_a_model_reads_images(reading, given, demo, stub, tmp_path):
    """A file of that is found where the user is, although the demo works in the checkout."""
    (tmp_path / "my own.json").touch()
    left = "runs/demo-defended/vendor_net/{}/model_best.pth.json"
    for folder in ("first", "defended"):
        path = tmp_path / "checkout" / left.format(folder)
        path.parent.mkdir(parents=True)
        path.with_suffix("").touch()
        path.touch()
    assert demo("--model", "vendor:net", "--preprocessing", reading, "--defend").returncode == 0
    assert demo("--preprocessing", reading, "--model", "vendor:net").returncode == 0
    first, second, *both, alone = [line for line in stub() if line.startswith(("metaDefense.py", "evaluate.py"))]
    before, after = sorted(both, key=lambda line: "/after" in line)
    given = given.format(tmp_path)
    assert f" --preprocessing {given} --seed" in first
    assert f" --preprocessing {left.format('first')} --seed" in second
    assert before.endswith(f" --preprocessing {given}")
    assert after.endswith(f" --preprocessing {left.format('defended')}")
    assert alone.endswith(f" --preprocessing {given}")


def test_the_demo_finds_the_weights_of_a_model_with_a_name_where_the_user_is(demo, stub, tmp_path):
    (tmp_path / "old.pth").touch()
    assert demo("--model", "timm:x:old.pth").returncode == 0
    assert f" --resume timm:x:{tmp_path}/old.pth --seed" in stub()[1]


@pytest.mark.parametrize("order", [["--defend", "3"], ["3", "--defend"]])
def test_the_demo_defends_a_model_and_judges_it_before_and_after(order, demo, stub, tmp_path):
    model, place = tmp_path / "my model.onnx", "runs/demo-seed3-defended/my_model.onnx"
    first, file = (f"{place}/{folder}/model_best.onnx" for folder in ("first", "defended"))
    # What metaDefense.py leaves; the second file says how the model reads images.
    for left in (first, f"{first}.json", file, f"{file}.json"):
        (tmp_path / "checkout" / left).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "checkout" / left).touch()
    done = demo("--model", "my model.onnx", *order)
    assert (done.returncode, done.stderr) == (0, "")
    begun, defended, draw, *both, card, page = stub()
    before, after = sorted(both, key=lambda line: "/after" in line)
    for line, start, folder in zip((begun, defended), (model, first), ("first", "defended"), strict=True):
        sets = "-s synth-wide -m synth-virtual"
        assert line.startswith(f"metaDefense.py {sets} --data {place}/data --resume {start} --defense anchored ")
        assert line.endswith(f" --seed 3 --precision fp32 --logs_dir {place}/{folder} --resume-from auto")
        assert (" --only-perturbed 8 --start-share 0.25 " in line) is (folder == "defended")
    assert " --preprocessing " not in begun
    assert f" --preprocessing {first}.json --seed" in defended
    assert draw == f"-m reid.synthperson synth-b --root {place}/data --seed 3 --for {model}"
    fast = "--seed 3 --suite reid-fast-v1"
    judged = f"evaluate.py -d synth-b --data {place}/data --resume"
    assert before == f"{judged} {model} {fast} --results {place}/before --reuse --preprocessing {file}.json"
    assert after == f"{judged} {file} {fast} --results {place}/after --reuse --preprocessing {file}.json"
    assert card == f"-m reid.report.card {place}/defended --before {place}/before --after {place}/after"
    assert page.startswith(f"-m reid.report {place}/before {place}/after -o {place}/report.html --title my_model.onnx")
    lanes, *said = [line.partition(": ")[2] or line for line in done.stdout.splitlines()]
    assert f"{place}/before.log and {place}/after.log" in lanes
    assert said == [f"{place}/{name}" for name in ("defended/model_best.onnx", "defended/card.md", "report.html")]


@pytest.mark.parametrize(
    ("spec", "named"), [("timm:x:old.pth", "timm:x:"), ("vendor:net", "vendor:net:"), ("zoo:x", "")]
)
def test_the_demo_names_a_defended_model_as_what_it_is(spec, named, demo, stub):
    assert demo("--model", spec, "--defend").returncode == 0
    place = f"runs/demo-defended/{spec.replace(':', '_')}"
    (after,) = (line for line in stub() if line.startswith("evaluate.py") and "/after" in line)
    assert f" --resume {named}{place}/defended/model_best.pth --seed 0 " in after
    trained = [line for line in stub() if line.startswith("metaDefense.py")]
    for start, line in zip((spec, f"{named}{place}/first/model_best.pth"), trained, strict=True):
        assert f" --resume {start} " in line
    assert after.endswith(" --preprocessing own")


@pytest.fixture
def two_cores(bin, tmp_path, monkeypatch):
    """Two cores and no GPU; lines begin with the place of the process among those that work together."""
    (bin / "nproc").write_text("#!/bin/sh\necho 2\n")
    (bin / "nproc").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin}:{os.environ['PATH']}")
    python = tmp_path / "python"
    record = 'echo "rank $RANK $LOCAL_RANK of $WORLD_SIZE at $MASTER_ADDR $MASTER_PORT, $OMP_NUM_THREADS thread:'
    together = python.read_text().replace('echo "', record + " ")
    python.write_text(f"{together}case $1 in -c) echo 1234 ;; esac\n")


def test_two_processes_defend_where_there_is_no_gpu(demo, stub, two_cores):
    assert demo("--model", "my model.onnx", "--defend").returncode == 0
    trained = sorted(line for line in stub() if "metaDefense.py" in line)
    alone = [line for line in stub() if "metaDefense.py" not in line]
    for number, line in enumerate(trained):
        rank = number // 2  # both trainings of each, in their order
        assert f"/{('first', 'defended')[number % 2]} --resume-from" in line
        assert line.startswith(f"rank {rank} {rank} of 2 at 127.0.0.1 1234, 1 thread: metaDefense.py -s ")
    assert len(trained) == 4
    assert all(line.startswith("rank   of  at  , ") for line in alone)


def test_a_defence_that_one_of_two_processes_refuses_ends_with_its_line(demo, stub, two_cores, tmp_path):
    python = tmp_path / "python"
    refuse = "case $1$RANK in metaDefense.py1) exec sleep 60 ;; metaDefense.py0) echo 'error: no' >&2; exit 2 ;; esac"
    python.write_text(f"{python.read_text()}{refuse}\n")
    done = demo("--model", "my model.onnx", "--defend")
    assert (done.returncode, done.stderr) == (2, "error: no\n")
    assert not any("evaluate.py" in line for line in stub())


@pytest.mark.parametrize(("script", "most"), [("metaDefense.py", 1), ("evaluate.py", 5)])
def test_the_demo_ends_where_a_step_of_a_defence_fails(script, most, demo, stub, tmp_path):
    """What cannot be defended is not judged; what is not judged is not reported."""
    python = tmp_path / "python"
    python.write_text(f"{python.read_text()}case $1 in {script}) echo 'error: scores only' >&2; exit 2;; esac\n")
    done = demo("--model", "my model.onnx", "--defend")
    assert done.returncode == 2
    assert "error: scores only\n" in done.stderr
    assert most > 1 or done.stderr == "error: scores only\n"
    assert len(stub()) <= most
