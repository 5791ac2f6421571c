"""cluster/slurm.sh on one node, with a real head: Slurm's own programs are stand-ins."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.cluster.files import CLUSTER
from tests.cluster.programs import program

_PATIENCE_S = 300

# Each stand-in does what the script needs of the program, on this machine, and notes that it was called.
STAND_INS = {
    "srun": """
        output=/dev/stdout
        while [[ $1 == --* ]]; do [[ $1 == --output=* ]] && output=${1#--output=}; shift; done
        if [[ $1 == hostname ]]; then echo "192.0.2.7 127.0.0.1"; exit; fi
        exec "$@" > "$output" 2>&1
    """,
    "scontrol": """
        case $1 in
            show) echo node-1 ;;
            *) echo "scontrol $*" >> "$NOTES" ;;
        esac
    """,
    "nnray": """
        ray health-check --address "$RAY_ADDRESS" && echo "nnray $* on a cluster that answers" >> "$NOTES"
        trap 'echo "nnray was asked to end" >> "$NOTES"; exit 143' TERM
        while test -e "$WAIT"; do sleep 0.1; done
    """,
}


class Job:
    """A job of Slurm's, begun.

    Args:
        folder: For all that it leaves.
        restarts: How often it was put back into the queue before.
        waits: Whether its command runs until it is ended.
    """

    def __init__(self, folder: Path, *, restarts: int = 0, waits: bool = False) -> None:
        self.number = os.getpid() % 900
        self.notes, self.folder = folder / "notes", folder / "slurm" / str(self.number)
        self._programs(folder / "bin")
        self.notes.touch()
        if waits:
            (folder / "wait").touch()
        environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{Path(program('ray')).parent}:{os.environ['PATH']}",
            "NOTES": str(self.notes),
            "WAIT": str(folder / "wait"),
            "VIRTUAL_ENV": "a virtual environment is active",
            "NNRAY_SLURM": str(folder / "slurm"),
            "NNRAY_NETWORK": "127.",
            "SLURM_SUBMIT_DIR": str(folder),
            "SLURM_JOB_ID": str(self.number),
            "SLURM_JOB_NODELIST": "node-1",
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_RESTART_COUNT": str(restarts),
        }
        self.process = subprocess.Popen(
            [CLUSTER / "slurm.sh", "train", "a.yaml", "seed=1"],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _programs(self, folder: Path) -> None:
        folder.mkdir()
        for name, body in STAND_INS.items():
            (folder / name).write_text(f"#!/bin/bash\n{body}", encoding="utf-8")
            (folder / name).chmod(0o755)

    def wait(self) -> int:
        _, errors = self.process.communicate(timeout=_PATIENCE_S)
        print(errors, *(path.read_text(encoding="utf-8") for path in self.folder.glob("*.log")))
        return self.process.returncode

    def wait_for(self, note: str) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while note not in self.notes.read_text(encoding="utf-8"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.2)
            assert self.process.poll() is None, self.wait()
            assert time.monotonic() < deadline

    def noted(self) -> list[str]:
        return self.notes.read_text(encoding="utf-8").splitlines()

    def left(self) -> list[psutil.Process]:
        """Processes of its cluster that still run, once they had time to go."""
        mark = f"/tmp/nnray-{self.number}"
        found = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(mark in word for word in process.info["cmdline"] or ())
        ]
        return psutil.wait_procs(found, timeout=60)[1]


@pytest.mark.ray
def test_a_command_runs_on_a_cluster_of_its_own_that_ends_with_it(tmp_path: Path) -> None:
    job = Job(tmp_path)
    assert job.wait() == 0
    assert job.noted() == ["nnray train a.yaml seed=1 on a cluster that answers"]
    assert job.left() == []
    # The token goes with the job; logs stay, for their reader alone.
    assert [path.name for path in job.folder.iterdir()] == ["node-1.log"]
    assert job.folder.stat().st_mode & 0o077 == 0


@pytest.mark.ray
def test_a_job_out_of_time_ends_in_order_and_queues_again(tmp_path: Path) -> None:
    job = Job(tmp_path, restarts=1, waits=True)
    job.wait_for("nnray resume --last on a cluster that answers")
    job.process.send_signal(signal.SIGUSR1)
    assert job.wait() == 0
    assert job.noted()[1:] == ["nnray was asked to end", f"scontrol requeue {job.number}"]
    assert job.left() == []


def test_without_a_command_it_says_how(tmp_path: Path) -> None:
    done = subprocess.run([CLUSTER / "slurm.sh"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: sbatch slurm.sh VERB FILE [overrides]\n")
