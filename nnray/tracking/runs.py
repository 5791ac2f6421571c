"""Which run of an MLflow experiment a key stands for, made once.

A request that was given up may still be carried out, by a server that was stopped and goes on: then a
run is made twice. The twin, which nothing was recorded in, is removed as soon as it is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nnray.tracking.tracker import RUN_TAG
from nnray.tracking.writer import Refused

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


class Runs:
    """The runs of one experiment, by key.

    Args:
        experiment: Its name.
        artifacts: Where a new experiment keeps its files; None for the store's own default.
        is_remote: Whether a request that was given up may still be carried out.
    """

    def __init__(self, experiment: str, *, artifacts: str | None, is_remote: bool) -> None:
        self._experiment, self._artifacts, self._is_remote = experiment, artifacts, is_remote
        self._experiment_id: str | None = None
        self._ids: dict[str, str] = {}
        self._made: set[str] = set()

    def find(self, client: MlflowClient, key: str) -> str | None:
        """The id of a run, if there is one."""
        if key not in self._ids and (found := self._search(client, key)):
            self._ids[key] = max(found, key=_weight).info.run_id
            self._drop_twins(client, key, found)
        return self._ids.get(key)

    def get(self, client: MlflowClient, key: str) -> str:
        """The id of a run.

        Raises:
            Refused: There is none.
        """
        run_id = self.find(client, key)
        if run_id is None:
            raise Refused(f"experiment {self._experiment!r} has no run with the tag {RUN_TAG} = {key!r}")
        return run_id

    def make(
        self, client: MlflowClient, key: str, *, name: str, time_ms: int, tags: Mapping[str, str]
    ) -> str:
        """Make the run of a key that has none."""
        self._made.add(key)
        made = client.create_run(
            self._in_experiment(client), start_time=time_ms, tags=dict(tags), run_name=name
        )
        self._ids[key] = made.info.run_id
        return self._ids[key]

    def settle(self, client: MlflowClient, key: str) -> None:
        """See that a run that was made here is the only one of its key."""
        if self._is_remote and key in self._made:
            self._drop_twins(client, key, self._search(client, key))
            self._made.discard(key)

    def _search(self, client: MlflowClient, key: str) -> list[Run]:
        where = f'tags.`{RUN_TAG}` = "{key_tag(key)}"'
        return list(client.search_runs([self._in_experiment(client)], where, max_results=10))

    def _drop_twins(self, client: MlflowClient, key: str, found: list[Run]) -> None:
        for run in found:
            if run.info.run_id != self._ids[key] and not any(_weight(run)[:2]):
                client.delete_run(run.info.run_id)

    def _in_experiment(self, client: MlflowClient) -> str:
        if self._experiment_id is None:
            found = client.get_experiment_by_name(self._experiment)
            if found is None:
                return self._new_experiment(client)
            if found.lifecycle_stage != "active":
                raise Refused(
                    f"experiment {self._experiment!r} is deleted in {client.tracking_uri}; restore it"
                )
            self._experiment_id = found.experiment_id
        return str(self._experiment_id)

    def _new_experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        try:
            self._experiment_id = client.create_experiment(
                self._experiment, artifact_location=self._artifacts
            )
        except MlflowException as error:
            found = client.get_experiment_by_name(self._experiment)
            if found is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            self._experiment_id = found.experiment_id
        return str(self._experiment_id)


def key_tag(key: str) -> str:
    """A key as a tag's value: MLflow's filters know no escapes, so one kind of quote has to go."""
    return key.replace('"', "'")


def _weight(run: Run) -> tuple[int, int, str]:
    """What is recorded in a run; the id has all processes take the same one of two."""
    return len(run.data.metrics), len(run.data.params), run.info.run_id
