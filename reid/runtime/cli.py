"""Command lines: options that are checked, errors that fit in one line, exit code 2 for what the user can mend."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from reid.errors import ReidError
from reid.runtime import job

# what may differ between a killed run and the one that goes on with it, whatever the script
NOT_SETTINGS = ("logs_dir", "resume_from", "workers", "cache", "device", "data", "checkpointing")


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """States defaults, and leaves the commands in a description as they are."""


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and whose help states every default."""

    def __init__(self, description: str | None, prog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, formatter_class=_Help)

    def error(self, message: str) -> NoReturn:
        _fail(f"{message}; see {self.prog} --help")

    def print_help(self, file: Any = None) -> None:
        if job.is_main():
            super().print_help(file)


def positive_int(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    return int(_number(text, int, lambda value: value >= 1, "a whole number of at least 1"))


def natural_int(text: str) -> int:
    """An argparse type: a whole number of at least 0."""
    return int(_number(text, int, lambda value: value >= 0, "a whole number of at least 0"))


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    return _number(text, float, lambda value: 0 < value < float("inf"), "a number above 0")


def natural_float(text: str) -> float:
    """An argparse type: a finite number of at least 0."""
    return _number(text, float, lambda value: 0 <= value < float("inf"), "a number of at least 0")


def grey_levels(text: str) -> float:
    """An argparse type: a budget in 1/255, above 0 and at most 255."""
    return _number(text, float, lambda value: 0 < value <= 255, "a number above 0 and at most 255, the range of images")


def _number(text: str, kind: Callable, allowed: Callable[[float], bool], wanted: str) -> float:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or not allowed(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where images come from and in which shape."""
    group = parser.add_argument_group("data")
    group.add_argument("--data", default="data", metavar="DIR", help="folder that holds the datasets")
    group.add_argument("--split", type=natural_int, default=0, help="which draw of validation identities")
    group.add_argument("--height", type=positive_int, default=256, help="image height")
    group.add_argument("--width", type=positive_int, default=128, help="image width")
    group.add_argument("--workers", type=positive_int, default=2, help="threads that decode images")
    group.add_argument(
        "--cache",
        choices=("ram", "disk", "none"),
        default="ram",
        help="decoded images: ram keeps up to 4 GiB of each set; disk keeps all in a file beside the images, for all "
        "processes; none decodes at each use",
    )


def add_seed_option(parser: argparse.ArgumentParser) -> None:
    """The seed."""
    parser.add_argument("--seed", type=natural_int, default=0, help="seed of everything random")


def add_compute_options(parser: argparse.ArgumentParser, precision: str) -> None:
    """Device, and precision with this default: "fp32" for what measures, "auto" for what trains."""
    group = parser.add_argument_group("compute")
    group.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps, or auto: CUDA if there is a GPU")
    group.add_argument(
        "--precision",
        default=precision,
        help="of networks: fp32, bf16, or auto: bf16 where the hardware computes in it",
    )


def add_training_options(parser: argparse.ArgumentParser, *, epochs: int, num_instances: int, margin: float) -> None:
    """What training a model needs, undefended or defended, with these defaults."""
    parser.add_argument("--batch_size", type=positive_int, default=64, help="clean images per batch and set, P x K")
    parser.add_argument(
        "--num-instances", type=positive_int, default=num_instances, help="K: images per identity in a batch"
    )
    parser.add_argument("--epochs", type=positive_int, default=epochs, help="epochs")
    parser.add_argument("--iters-per-epoch", type=positive_int, help="steps per epoch; None: images / batch size")
    parser.add_argument("--weight-decay", type=natural_float, default=5e-4, help="weight decay")
    parser.add_argument("--margin", type=natural_float, default=margin, help="margin of the hard triplet loss")
    parser.add_argument("--eval-every", type=positive_int, default=5, help="epochs between validations")
    parser.add_argument(
        "--combine-trainval",
        action="store_true",
        help="train on the validation identities too, keep the last epoch",
    )
    parser.add_argument(
        "--checkpointing",
        action="store_true",
        help="compute activations again instead of keeping them: slower, in less memory; the same but for rounding",
    )


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    """Going on after a kill."""
    parser.add_argument(
        "--resume-from",
        metavar="PATH",
        help="go on from this state: 'auto' (that of the same command if there is one), a folder, or a state.pth",
    )


def settings(args: argparse.Namespace, ignore: Sequence[str] = ()) -> dict[str, str]:
    """What determines a run's result: all options but NOT_SETTINGS and `ignore`, as text, to compare on resume."""
    ignored = (*NOT_SETTINGS, *ignore)
    return {name: str(value) for name, value in sorted(vars(args).items()) if name not in ignored}


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a script's `main(argv)`, with the other processes of torchrun if it started several.

    Leaves with 0; 2 and one line, whichever process met it, for what the user can mend; 1 and one line if a process
    was lost; 130 if interrupted.
    """
    try:
        job.start()
        level = logging.INFO if job.is_main() else logging.ERROR
        logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr)
        main(argv)
        job.stop()
    except ReidError as error:
        _fail(str(error))
    except OSError as error:
        where = error.filename or "a file"
        _fail(f"{where}: {error.strerror or error}; check the path, its permissions and the space left")
    except job.Lost as error:
        _lost(error)
    except KeyboardInterrupt:
        job.report("interrupted; a run that knows --resume-from goes on with --resume-from auto")
        sys.exit(130)
    except RuntimeError as error:
        if job.is_loss(error):
            _lost(error)
        if "out of memory" not in str(error):
            raise
        _fail("the device is out of memory; lower --batch_size, --height or --width, or use --device cpu")
    sys.exit(0)


def _lost(error: BaseException) -> NoReturn:
    job.report_lost(error)
    sys.exit(1)


def _fail(message: str) -> NoReturn:
    job.report(f"error: {message}")
    sys.exit(2)
