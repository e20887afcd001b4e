"""A process in which the command is imported already, and whose forks run it: imports take most of a short command.

As a script it reads one run a line: a JSON list of its arguments, its folder, and the files of its two outputs. It
answers with the exit code.
"""

import atexit
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from importlib import import_module
from pathlib import Path
from typing import IO, Any

PRELOADED = (
    "echox.recipes.launch",
    "echox.recipes.stages.echo",
    "echox.training",
    "faiss",
    "flows.cli",
    "flows.corpus",
    "flows.report.html",
    "flows.report.terminal",
    "pipelines.build.build",
    "pipelines.build.debug",
    "pipelines.build.encode_audio",
    "pipelines.build.repair",
    "pipelines.build.verify",
    "ray.data",
    "torch",
    "unitlang.features.mfcc",
)


class Warm:
    """Runs commands in forks of one process.

    Attributes:
        environment: variables of the commands, as they were when the process was started.
    """

    def __init__(self) -> None:
        self.environment = environment()
        command = [sys.executable, "-m", "tests.flows.warm"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run the command as from a script: no terminal, 80 columns."""
        with tempfile.TemporaryDirectory() as folder:
            outputs = [Path(folder, name) for name in ("stdout", "stderr")]
            code = self._ask([arguments, str(Path.cwd()), *map(str, outputs)])
            return subprocess.CompletedProcess(arguments, code, *(path.read_text() for path in outputs))

    def _ask(self, run: list[Any]) -> int:
        asked, answered = self._pipes()
        print(json.dumps(run), file=asked, flush=True)
        return int(answered.readline())

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout

    def close(self) -> None:
        """End the process."""
        for pipe in self._pipes():
            pipe.close()
        self._process.wait()


def environment() -> dict[str, str]:
    """The variables of this process, but the one that names the running test."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def _serve() -> None:
    """Answer until the input ends; in a fork, return with the command's arguments and outputs in place."""
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        if child := os.fork():
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
        else:
            arguments, folder, *outputs = json.loads(line)
            _take_place(arguments, folder, outputs)
            return
    os._exit(0)


def _take_place(arguments: list[str], folder: str, outputs: list[str]) -> None:
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = ["-c", *arguments]


def _end(code: int) -> None:
    """End as the interpreter does, but for taking its modules apart, which takes a second."""
    threading._shutdown()  # pyright: ignore
    atexit._run_exitfuncs()  # pyright: ignore
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for name in PRELOADED:
        import_module(name)
    gc.freeze()
    _serve()
    from flows.cli import main

    try:
        main()
    except SystemExit as end:
        _end(int(end.code or 0))
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)
