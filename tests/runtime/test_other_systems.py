"""What one system has and another lacks is not asked for, or there is a plain way without it."""

import ast
import ctypes
import os
import sys
import types
from pathlib import Path

import pytest
import torch

from reid.runtime import device
from reid.runtime.files import slug
from reid.runtime.runlog import RunLog
from reid.synthperson import generate

ROOT = Path(__file__).parents[2]
# of Python's own, on Windows (3.11)
MISSING = {
    "os": "fork forkpty preadv pwritev pread pwrite sched_getaffinity sched_setaffinity getuid geteuid getgid setsid "
    "killpg mkfifo chown uname set_blocking get_blocking getloadavg nice wait3 wait4 posix_fadvise sendfile statvfs",
    "signal": "SIGKILL SIGHUP SIGALRM SIGUSR1 SIGUSR2 SIGPIPE SIGCHLD setitimer alarm pause pthread_sigmask sigwait",
    "time": "tzset clock_gettime",
    "select": "poll epoll",
}
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog", "curses", "readline"}


def test_no_command_asks_for_what_windows_lacks():
    asked = []
    for path in (*ROOT.glob("*.py"), *ROOT.glob("reid/**/*.py"), *ROOT.glob("studies/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                if node.attr in MISSING.get(node.value.id, "").split():
                    asked.append(f"{path}:{node.lineno} {node.value.id}.{node.attr}")
            elif isinstance(node, ast.Import | ast.ImportFrom):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module]
                asked += [f"{path}:{node.lineno} {name}" for name in names if name in MODULES]
    assert asked == []


def test_a_process_is_set_up_with_the_c_library_of_windows(monkeypatch):
    """Python's own branch for Windows, where a library without a name is a TypeError."""
    nt = types.ModuleType("nt")
    nt._LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, nt._LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR = 0x1000, 0x100
    monkeypatch.setitem(sys.modules, "nt", nt)
    monkeypatch.setattr(ctypes, "_os", types.SimpleNamespace(**{**vars(os), "name": "nt"}))
    with pytest.raises(TypeError):
        ctypes.CDLL(None)
    before = torch.backends.cudnn.deterministic
    assert device.set_up(device.resolve("cpu", "fp32")).device.type == "cpu"
    torch.backends.cudnn.deterministic = before


@pytest.mark.parametrize(("cores", "wanted"), [(128, 61), (4, 4), (None, 1)])
def test_no_more_processes_draw_than_windows_can_wait_for(cores, wanted, monkeypatch, tmp_path):
    def pool(workers, initializer):
        raise ChildProcessError(workers)

    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setitem(generate.__globals__, "ProcessPoolExecutor", pool)
    with pytest.raises(ChildProcessError, match=f"^{wanted}$"):
        generate("synth-a", tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("market1501-maml", "market1501-maml"),
        ("folder:/mnt/my set-maml", "folder_mnt_my_set-maml"),
        ("folder:C:\\data\\px-pgd", "folder_C_data_px-pgd"),
        ('a<b>|c?"*', "a_b_c"),
        ("line\nbreak\x00", "line_break"),
        ("über 行人.", "über_行人"),
        ("...", "_"),
        ("", "_"),
    ],
)
def test_names_of_files_have_no_sign_that_some_system_reserves(text, name):
    assert slug(text) == name


def test_logs_take_every_name_whatever_the_system_writes(tmp_path):
    import logging

    with RunLog(tmp_path):
        logging.getLogger("reid").error("行人 %s", os.fsdecode(b"\xc7\xf1.jpg"))
    assert "行人 \\udcc7\\udcf1.jpg" in (tmp_path / "log.txt").read_text(encoding="utf-8")
