"""Which tests share a worker: those of a file, as they share what is made once; and all that are large.

Large are those in which several nodes hold a real model, and notebooks that run them: one at a time, lest two
fill the memory. They take longest, so they are begun first. What asserts how long things take is `alone`.
"""

from pathlib import Path

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from lambdascale.experiments.jobs import PROFILES

LARGE = "large"
MEASURED = {
    "00_start_here",  # runs real processes, and is no job
    *(Path(job.notebook).name for jobs in PROFILES.values() for job in jobs if job.measured),
}
FILES = {"test_kills_real.py", "test_serve_kill.py", "test_serve_smollm2.py", *MEASURED}


class ByFile(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return LARGE if Path(file).name.removesuffix(".ipynb") in FILES else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        if LARGE in self.workqueue:
            self.workqueue.move_to_end(LARGE, last=False)
        super()._assign_work_unit(node)
