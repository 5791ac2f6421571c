"""What each worker runs: nnray's own loop, as one rank of several. The first rank tells the driver."""

from __future__ import annotations

import sys
import time
import traceback
from dataclasses import dataclass, field
from typing import Any

import ray.train
import torch

from nnray.assembly import assemble, load_data
from nnray.config import Experiment
from nnray.data.root import take_root, told_root
from nnray.errors import ClusterError, NnrayError, RunError
from nnray.runners.parallel.mailbox import begin, mention, send
from nnray.runners.parallel.messages import Began, Fatal, Moved, Note, Trained
from nnray.runners.stream import streaming
from nnray.runners.training import EpochRecord, prepare_process, train_epochs
from nnray.training.fence import StaleAttempt
from nnray.training.loop import Progress
from nnray.training.ranks import Ranks, joined
from nnray.training.storage import LocalFolder, RemoteFolder, open_folder

MARK = "run.json"
"""A file in the storage by which each node sees that it is the storage."""
_OFTEN_S = 0.2


@dataclass(frozen=True, slots=True)
class RankSpec:
    """What a worker must know.

    Args:
        experiment: With a ``parallel`` section.
        storage: Path or URI of the run's folder in the storage.
        mailbox: Of the run.
        search: Folders in which the experiment's own modules are found.
        data: The driver's ``$NNRAY_DATA``.
    """

    experiment: Experiment
    storage: str
    mailbox: Any
    search: tuple[str, ...]
    data: str | None = field(default_factory=told_root)


def train_rank(config: dict[str, Any]) -> None:
    """Train as one of the ranks of the default process group; every worker runs this.

    Args:
        config: The ``RankSpec`` under ``spec``.
    """
    spec: RankSpec = config["spec"]
    sys.path.extend(folder for folder in spec.search if folder not in sys.path)
    take_root(spec.data)
    assert spec.experiment.parallel is not None
    ranks = joined(timeout_s=spec.experiment.parallel.timeout_s)
    try:
        _train(spec, ranks)
    except (ClusterError, StaleAttempt, RuntimeError, OSError):  # of this attempt; another one may do better
        raise
    except NnrayError as error:
        send(spec.mailbox, Fatal(error))
        raise
    except Exception as error:
        send(spec.mailbox, Fatal(RunError(_described(error, ranks))))
        raise


def _described(error: Exception, ranks: Ranks) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename}:{frame.lineno}"
    return f"rank {ranks.rank} of {ranks.size}: {type(error).__name__}: {error} ({where})"


def _train(spec: RankSpec, ranks: Ranks) -> None:
    experiment, where = spec.experiment, open_folder(spec.storage)
    _require_storage(where)
    prepare_process(experiment)
    if experiment.training.threads is None and experiment.parallel is not None:
        torch.set_num_threads(max(1, int(experiment.parallel.cpus_per_worker)))
    with streaming(experiment) as reader:  # where data stream, each rank reads its part
        built = assemble(experiment, load_data(experiment, reader=reader), ranks=ranks)
        teller = _Teller(spec.mailbox, ranks)
        for record in train_epochs(
            built,
            where,
            attempt=teller.attempt,
            in_background=True,
            shows=True,
            is_due=_will_be_taken_away,
            on_progress=teller.progress,
            on_skipped=teller.note,
        ):
            teller.epoch(record)


def _require_storage(where: LocalFolder | RemoteFolder) -> None:
    if MARK not in where.names():
        address = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        raise RunError(
            f"node {address} does not see the run's storage {where}: set "
            "parallel.storage to a folder that all nodes share, or to a URI"
        )


def _will_be_taken_away() -> bool:
    """Whether a node of the group has notice that it will end; asked by all ranks together."""
    return ray.train.get_preemption_info() is not None


class _Teller:
    """Tells the driver where training stands; silent on all ranks but the first."""

    def __init__(self, mailbox: Any, ranks: Ranks) -> None:
        self._mailbox, self._ranks, self._told_s = mailbox, ranks, 0.0
        self.attempt = begin(mailbox) if ranks.rank == 0 else 0
        if self.attempt:
            send(mailbox, Began(self.attempt, ranks.size), attempt=self.attempt)

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended; it is heard before the next one begins."""
        if self.attempt and not send(self._mailbox, Trained(record), attempt=self.attempt):
            raise StaleAttempt(f"a newer attempt has taken over from attempt {self.attempt}")

    def progress(self, progress: Progress) -> None:
        """An epoch has come further."""
        now = time.monotonic()
        if now - self._told_s >= _OFTEN_S:
            self._told_s = now
            mention(self._mailbox, Moved(progress), attempt=self.attempt, passing=True)

    def note(self, text: str) -> None:
        """Something that a person should know."""
        send(self._mailbox, Note(text), attempt=self.attempt)
