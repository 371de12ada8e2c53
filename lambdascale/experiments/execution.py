"""Run one notebook by papermill, with the Python that runs this.

The kernel is stated here: what kernels a user has registered makes no difference.
"""

import sys
from pathlib import Path

import papermill
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError
from traitlets import Type

from lambdascale.errors import LambdaScaleError
from lambdascale.experiments.jobs import Job, Scalar

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
            progress_bar=True,
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{job.notebook} stopped at cell {error.exec_count}: {error.ename}: {error.evalue}; "
            f"see {folder / EXECUTED}"
        ) from error
