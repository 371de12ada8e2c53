"""Run one notebook by papermill, with the Python that runs this; by itself, a process for one job.

The kernel is stated here: what kernels a user has registered makes no difference.
"""

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import Type

from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.jobs import Job, Scalar, Task
from lambdascale.experiments.manifest import write_manifest

KERNEL = "python3"
EXECUTED = "executed.ipynb"


class ThisPython(KernelSpecManager):
    """Knows one kernel: ipykernel in this interpreter."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        argv.append("--log-level=ERROR")  # it warns of the loopback sockets it has always used
        return KernelSpec(argv=argv, display_name="Python 3", language="python")


class ThisPythonKernels(AsyncKernelManager):
    """Starts kernels of this interpreter."""

    kernel_spec_manager_class = Type(ThisPython)

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return ThisPython(parent=self)


class NotebookError(LambdaScaleError):
    """A notebook stopped at a cell."""


def parameters_of(notebook: Path) -> set[str]:
    """Return the names of a notebook's parameters."""
    return set(papermill.inspect_notebook(str(notebook)))


def execute(job: Job, notebook: Path, folder: Path) -> None:
    """Run `notebook` inside `folder`, where it leaves its results; NotebookError names a cell that failed.

    The executed copy lies in the folder, too, up to the cell that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters: dict[str, Scalar] = {**job.parameters, "results": "."}
    try:
        papermill.execute_notebook(
            str(notebook),
            str(folder / EXECUTED),
            parameters=parameters,
            kernel_name=KERNEL,
            kernel_manager_class=ThisPythonKernels,
            cwd=str(folder),
            progress_bar=False,
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{job.notebook} stopped at cell {error.exec_count}: {error.ename}: {error.evalue}; "
            f"see {folder / EXECUTED}"
        ) from error


def run_task(task: Task) -> None:
    """Run a task and state it in its folder, which makes it complete; raises NotebookError."""
    started_s = time.monotonic()
    execute(task.job, task.notebook, task.folder)
    stated = {
        "notebook": task.name,
        "profile": task.profile,
        "parameters": dict(task.job.parameters),
        "measured": task.job.measured,
        "seconds": round(time.monotonic() - started_s, 1),
    }
    write_manifest(task.folder, stated)


def command(task: Task) -> list[str]:
    """Return the command line of a process that runs a task."""
    return [sys.executable, "-m", __name__, msgspec.json.encode(task, enc_hook=str).decode()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the task that the one argument says; return the exit code. The last line says what failed."""
    (text,) = sys.argv[1:] if arguments is None else arguments
    task = msgspec.json.decode(text, type=Task, dec_hook=lambda kind, value: kind(value))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    try:
        run_task(task)
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # by now the kernel has been shut down
    return 0


if __name__ == "__main__":
    sys.exit(main())
