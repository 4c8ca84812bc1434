"""Ctrl-C while a command still imports: one line and code 130. Imported first, so it imports next to nothing itself."""

import os
import signal
import sys

HINT = "a run that knows --resume-from goes on with --resume-from auto"


def is_command(package: str) -> bool:
    """Whether this process runs `python -m PACKAGE.PLACE`, or a script that hands itself over to `cli.run`."""
    words = sys.orig_argv
    if "-m" in words[:-1] and words[words.index("-m") + 1].split(".")[0] == package:
        return True  # the place itself is imported after the package
    try:
        with open(sys.modules["__main__"].__file__ or "", encoding="utf-8") as script:
            return "cli.run(main)" in script.read()
    except (AttributeError, OSError, ValueError):  # a notebook, a console
        return False


def end_at_once() -> None:
    """From here on Ctrl-C ends this process; `cli.run` answers it otherwise, before anything is written."""

    def end(number: int, _: object) -> None:
        try:
            if os.environ.get("RANK", "0") == "0":  # of torchrun
                os.write(2, f"interrupted; {HINT}\n".encode())
        finally:
            os._exit(128 + number)

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:  # as in the background of a shell's script
        signal.signal(signal.SIGINT, end)
