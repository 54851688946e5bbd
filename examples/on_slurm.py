"""One command of mass3d with SLURM jobs as workers. Needs `pip install '.[cluster]'` (checkout).

    python examples/on_slurm.py --jobs 64 --memory 8GiB -- prepare scans -o store

Run it where it may stay for as long as the work takes. If it is killed, the same command continues
where it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from dask_jobqueue import SLURMCluster

LOOK_S = 60.0  # between looks whether jobs have ended


def main(argv: Sequence[str] | None = None) -> int:
    """Start the jobs, run the command with them, end them; returns the command's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=8, help="workers, one job each")
    parser.add_argument("--memory", default="8GiB", help="per job")
    parser.add_argument("--walltime", default="12:00:00", help="per job")
    parser.add_argument("--queue", help="partition")
    parser.add_argument("--prologue", default="", help="shell line before the worker starts")
    parser.add_argument("--show", action="store_true", help="print the job script and stop")
    parser.add_argument("command", nargs="*", help="what follows `mass3d`, after --")
    given = parser.parse_args(argv)
    with SLURMCluster(
        queue=given.queue,
        cores=1,  # a worker has one thread, for a case takes a process for itself
        processes=1,
        memory=given.memory,
        walltime=given.walltime,
        job_script_prologue=[given.prologue] if given.prologue else [],
        worker_extra_args=["--no-dashboard"],
        scheduler_options={"dashboard_address": ":0"},  # any free port: there may be others
    ) as cluster:
        if given.show:
            sys.stdout.write(cluster.job_script())
            return 0
        command = ["mass3d", *given.command, "--scheduler", cluster.scheduler_address]
        with subprocess.Popen(command) as running:
            while True:
                cluster.scale(jobs=given.jobs)  # again and again, for jobs end at their walltime
                try:
                    return running.wait(timeout=LOOK_S)
                except subprocess.TimeoutExpired:
                    continue


if __name__ == "__main__":
    sys.exit(main())
