"""Command lines: checked options, errors of one line, exit code 2 for what the user can mend. Without torch."""

import argparse
import contextlib
import difflib
import io
import logging
import math
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from reid.errors import ReidError, UsageError, few
from reid.runtime import interrupts, job, progress, terminal
from reid.runtime.budgets import format_budget, parse_budget
from reid.runtime.registry import load_plugin

# what may differ between a killed run and the one that goes on with it, whatever the script
NOT_SETTINGS = ("logs_dir", "resume_from", "workers", "cache", "device", "data", "checkpointing", "plugin", "debug")
STDOUT = "standard output"
WEIGHTS = "pretrained_models"  # folder of the files of the zoo
IMAGE_SIZE = (256, 128)  # height and width where neither the user nor a checkpoint says another


class OneLineParser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, whose help states every default, and which takes - and _ alike.

    The files of --plugin in `argv` (None: the command line) are run first, so that what they register can be chosen.
    """

    def __init__(self, description: str | None, argv: Sequence[str] | None = None, prog: str | None = None) -> None:
        for path in filter(None, _early(argv).plugin):
            load_plugin(path)
        super().__init__(prog=prog, description=description, formatter_class=_Help, allow_abbrev=False)
        self._typed: dict[str, str] = {}  # as declared -> as the user wrote it, for errors
        self._negative_number_matcher = re.compile(r"^-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(/\d+)?$")  # budgets too
        add = self.add_argument_group("every command").add_argument
        plugin = "a Python file that adds a dataset, model family, attack or defence of yours; can be repeated"
        add("--plugin", action="append", default=[], metavar="FILE", help=plugin)
        add("--debug", action="store_true", help="show the traceback of an error, not only its one line")

    def error(self, message: str) -> NoReturn:
        for option, typed in self._typed.items():
            message = message.replace(option, typed)
        _fail(f"{message}{' See' if message.endswith('?') else '; see'} {self.prog} --help")

    def print_help(self, file: Any = None) -> None:
        if job.is_main():
            super().print_help(file)

    def _parse_known_args(self, arg_strings: Iterable[str], *rest: Any, **more: Any) -> Any:
        return super()._parse_known_args(self._spelt(arg_strings), *rest, **more)

    def _spelt(self, tokens: Iterable[str]) -> list[str]:
        """The tokens of a command line with each option as it was declared; ends the program for an unknown one."""
        declared = {_letters(option): option for option in self._option_string_actions}
        spelt = list(tokens)
        for place, token in enumerate(spelt):
            name, equals, value = token.partition("=")
            if name == "--":
                break
            if not name.startswith("-") or " " in name or name in self._option_string_actions:
                continue
            option = declared.get(_letters(name), name)
            if name.startswith("--") and option in self._option_string_actions:
                spelt[place] = option + equals + value
                self._typed[option] = name
            elif name.startswith("--") or option in self._option_string_actions:
                near = difflib.get_close_matches(_letters(name), declared, n=1)
                self.error(f"no option is called {name}" + _did_you_mean(declared[each] for each in near))
        return spelt

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = list(map(str, action.choices))
            hint = _did_you_mean(difflib.get_close_matches(str(value), choices, n=1))
            raise argparse.ArgumentError(action, f"{few([value])!r} is none of {', '.join(choices)}{hint}")


class _Help(argparse.RawDescriptionHelpFormatter):
    """States defaults that the help text does not, and leaves the commands in a description as they are."""

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return super()._format_action_invocation(action)
        long = [option for option in action.option_strings if option.startswith("--")]
        names = ", ".join(option for option in action.option_strings if option not in long[1:])
        value = "" if action.nargs == 0 else self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{names} {value}".rstrip()

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)  # names stay whole

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        unsaid = action.required or isinstance(default, bool) or default in (None, [], (), argparse.SUPPRESS)
        if unsaid or "default:" in text:
            return text
        values = default if isinstance(default, list | tuple) else [default]
        write = format_budget if action.type in BUDGETS else str
        shown = " ".join(map(write, values)).replace("%", "%%")
        return f"{text} (default: {shown})"


def _letters(option: str) -> str:
    """What tells an option from others: its name without dashes, whichever of - and _ is in it."""
    return option.lstrip("-").replace("-", "_")


def _did_you_mean(near: Iterable[str]) -> str:
    return "".join(f"; did you mean {each}?" for each in near)


def _early(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options that matter before the others are known: `plugin`, files or None, and `debug`."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--plugin", action="append", nargs="?", default=[])
    parser.add_argument("--debug", action="store_true")
    return parser.parse_known_args(argv)[0]


def _number(kind: type, allowed: Callable[[float], bool], words: str) -> Callable[[str], Any]:
    """An argparse type: a number of this kind that is allowed; `words` describe it in the error."""

    def convert(text: str) -> Any:
        with contextlib.suppress(ValueError):
            if allowed(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{few([text])!r} is not {words}")

    return convert


positive_int = _number(int, lambda value: value >= 1, "a whole number of at least 1")
natural_int = _number(int, lambda value: value >= 0, "a whole number of at least 0")
seed = _number(int, lambda value: 0 <= value < 2**128, "a whole number from 0 to 2**128 - 1")
positive_float = _number(float, lambda value: 0 < value < math.inf, "a number above 0")
natural_float = _number(float, lambda value: 0 <= value < math.inf, "a number of at least 0")
decay = _number(float, lambda value: 0 <= value < 1, "a number from 0 to below 1")
share = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")


def budget(text: str) -> float:
    """An argparse type: a budget such as 8/255 or 0.03, as a number in [0, 1]."""
    try:
        return parse_budget(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def grey_level_budget(text: str) -> float:
    """An argparse type: a budget, for which a number from 1 to 255 without /255 is grey levels: 8 is 8/255."""
    try:
        return float(text) / 255 if 1 <= float(text) <= 255 else budget(text)
    except ValueError:
        return budget(text)


def positive_budget(text: str) -> float:
    """An argparse type: as grey_level_budget, and above 0."""
    if (value := grey_level_budget(text)) == 0:
        raise argparse.ArgumentTypeError(f"budget {text} allows no change; write it as 8/255 or 0.03")
    return value


BUDGETS = (budget, grey_level_budget, positive_budget)


class _Places(argparse.Action):
    """DIR, or NAME=DIR for one dataset: a dict of folders by dataset, "" for all others; what is given last counts."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, value: Any, option: str | None = None) -> None:
        name, equals, folder = value.partition("=")
        if not equals or re.search(r"[/\\]", name) or os.path.isdir(value):
            name, folder = "", value
        if not folder:
            raise argparse.ArgumentError(self, f"{value!r} names no folder")
        setattr(namespace, self.dest, getattr(namespace, self.dest) | {name: folder})


def add_data_option(add: Callable[..., Any], *options: str) -> None:
    """Where datasets are, for `datasets.create`."""
    text = "folder that holds the datasets (default: data); NAME=DIR is for one of them, and for folder the images "
    text += "themselves; can be repeated. folder:PATH is the name of your own images in any folder"
    add(*options, action=_Places, default={}, metavar="[NAME=]DIR", help=text)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Where images come from and in which shape; --height and --width are None where `image_size` is to decide."""
    add = parser.add_argument_group("data").add_argument
    add_data_option(add, "--data")
    add("--split", type=natural_int, default=0, help="number of the split into training and validation identities")
    add_size_options(add)
    kept = "where decoded images are kept: ram: in memory, up to 4 GiB of each list of images; disk: in a file next to "
    kept += "the images, shared by all processes; none: nowhere, each use decodes again"
    add("--cache", choices=("ram", "disk", "none"), default="ram", help=kept)


def add_size_options(add: Callable[..., Any], usual: str = "the checkpoint's own") -> None:
    """Height and width of images, None where `image_size` is to decide, and how many threads decode them."""
    for side, pixels in zip(("height", "width"), IMAGE_SIZE, strict=True):
        add(f"--{side}", type=positive_int, help=f"image {side} (default: {usual}, else {pixels})")
    add("--workers", type=natural_int, default=2, help="threads that decode images; 0: none but the main one")


def image_size(height: int | None, width: int | None, own: tuple[int, int] | None = None) -> tuple[int, int]:
    """Height and width of images: those of --height and --width, else a checkpoint's own, else IMAGE_SIZE."""
    usual = own or IMAGE_SIZE
    return height or usual[0], width or usual[1]


SPECS = "a checkpoint of a known family, an ONNX or OpenVINO file, timm:NAME[:FILE], torchscript:FILE, exported:FILE, "
SPECS += "zoo:NAME of python -m reid.models.zoo, or package.module:function[:FILE] (docs/bring-your-model.md)"


def add_model_options(parser: argparse.ArgumentParser, archs: Sequence[str], readings: Iterable[str]) -> None:
    """Which model, and how it reads images: `readings` are the names of usual preprocessings."""
    add = parser.add_argument_group("model").add_argument
    add("--resume", required=True, metavar="SPEC", help=f"the model: {SPECS}")
    add_weights_option(add)
    add("-a", "--arch", choices=archs, help="architecture of --resume (default: by its keys)")
    add_reading_option(add, readings)


def add_reading_option(add: Callable[..., Any], readings: Iterable[str]) -> None:
    """How a model reads images: `readings` are the names of usual preprocessings."""
    reading = f"how it reads images: own, as the file or its family says; {', '.join(readings)}; a .json file of an "
    reading += "input; or auto, which tries all on the dataset, if the command has one. @HEIGHTxWIDTH is the size that "
    reading += "it gets, /VARIANT one of several networks that fit the keys (default: own where certain, else auto)"
    add("--preprocessing", metavar="NAME[@SIZE][/VARIANT]", help=reading)


def add_weights_option(add: Callable[..., Any]) -> None:
    """Where the files of models of the zoo are."""
    add("--weights", default=WEIGHTS, metavar="DIR", help="folder that holds the files of models that are zoo:NAME")


def add_seed_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=seed, default=0, help="seed of everything random")


def add_compute_options(parser: argparse.ArgumentParser, precision: str) -> None:
    """Device, and precision with this default: "fp32" for what measures, "auto" for what trains."""
    add = parser.add_argument_group("compute").add_argument
    add_device_option(add)
    add("--precision", default=precision, help="networks in fp32, bf16, or auto: bf16 where the hardware has it")


def add_device_option(add: Callable[..., Any]) -> None:
    add("--device", default="auto", help="cpu, cuda, cuda:1, mps, or auto: CUDA if there is a GPU")


def add_training_options(parser: argparse.ArgumentParser, *, epochs: int, num_instances: int, margin: float) -> None:
    """What training a model needs, undefended or defended, with these defaults."""
    add = parser.add_argument
    add("--batch_size", type=positive_int, default=64, help="clean images per batch and set, P x K")
    add("--num-instances", type=positive_int, default=num_instances, help="K: images per identity in a batch")
    jitter = "colour jitter; at 1, gamma, gains, contrast and saturation change by up to 1.3 to 1.65 times"
    add("--jitter", type=natural_float, default=0.0, metavar="STRENGTH", help=jitter)
    add("--epochs", "--epoch", type=positive_int, default=epochs, help="epochs")
    add("--iters-per-epoch", type=positive_int, help="steps per epoch (default: images / batch size)")
    add("--weight-decay", type=natural_float, default=5e-4, help="weight decay")
    add("--margin", type=natural_float, default=margin, help="margin of the hard triplet loss")
    add("--eval-every", type=positive_int, default=5, help="validate after every so many epochs")
    add("--combine-trainval", action="store_true", help="train on validation identities too, and keep the last epoch")
    recompute = "recompute activations instead of storing them: slower, less memory, the same result"
    add("--checkpointing", action="store_true", help=recompute)


def add_resume_option(parser: argparse.ArgumentParser) -> None:
    state = "continue from this state.pth, or from a folder with one; 'auto': from what a killed run of the same "
    state += "command left, if anything (default: start at the first epoch)"
    parser.add_argument("--resume-from", metavar="PATH", help=state)


def settings(options: Mapping[str, Any], ignore: Sequence[str] = ()) -> dict[str, str]:
    """What determines a run's result: all options but NOT_SETTINGS and `ignore`, as text, to compare on resume."""
    return {name: str(value) for name, value in sorted(options.items()) if name not in (*NOT_SETTINGS, *ignore)}


def run(main: Callable[[Sequence[str] | None], None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a script's `main(argv)`, with the other processes of torchrun if it started several.

    Leaves with 0; with one line and 2 for what the user can mend, 1 if a process was lost, 130 after Ctrl-C, 143 after
    SIGTERM; and with 141, without a line, where nobody reads what it prints any more, as after `| head`.
    """
    try:
        with interrupts.answered():
            job.start()
            level = logging.INFO if job.is_main() else logging.ERROR
            logging.basicConfig(level=level, format="%(message)s", handlers=[terminal.Handler(sys.stderr)])
            logging.getLogger("torch").setLevel(logging.WARNING)  # of its own doings it would speak after the last line
            if isinstance(sys.stdout, io.TextIOWrapper):  # which may have no letters for a name, as stderr always has
                sys.stdout.reconfigure(errors="backslashreplace")
            try:
                main(argv)
            finally:
                progress.close()
                _flush()
            if job.stop():  # torch's threads now and then abort a process of torchrun while Python takes itself down
                logging.shutdown()
                os._exit(0)
    except (Exception, KeyboardInterrupt, job.Lost) as error:
        sys.exit(_code_after(error, argv))
    sys.exit(0)


def _code_after(error: BaseException, argv: Sequence[str] | None) -> int:
    """The code to leave with after an error of `main`, having said its line. Raises it again where it is a bug."""
    if interrupts.is_end_of(error):
        line, code = interrupts.last_line()
        job.report(line)
        return code
    if isinstance(error, BrokenPipeError) and error.filename in (None, STDOUT):
        return 141  # what a shell makes of SIGPIPE
    lost = isinstance(error, job.Lost) or (isinstance(error, RuntimeError) and job.is_loss(error))
    no_memory = isinstance(error, RuntimeError) and "out of memory" in str(error)
    if not (lost or no_memory or isinstance(error, ReidError | OSError)):
        raise error
    if _early(argv).debug:
        traceback.print_exc()
    if lost:
        job.report_lost(error)
        return 1
    job.report(f"error: {_one_line(error)}")
    return 2


def _flush() -> None:
    """Write out what was printed. What cannot be is dropped, or Python would try again, and complain, as it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = STDOUT
        raise


def _one_line(error: BaseException) -> str:
    """What is wrong and how to mend it; of an error of the system that names no file, where it happened."""
    if isinstance(error, RuntimeError):
        return "the device is out of memory; lower --batch_size, --height or --width, or use --device cpu"
    if not isinstance(error, OSError):
        return str(error)
    words = error.strerror or str(error) or type(error).__name__
    if error.filename:
        return f"{error.filename}: {words}; check the path, its permissions and the space left"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{words}, in {place.name} ({Path(place.filename).name}, line {place.lineno}); --debug shows the traceback"


def _fail(message: str) -> NoReturn:
    job.report(f"error: {message}")
    sys.exit(2)
