"""`MlflowLogger`: metrics of an MLflow run."""

from collections.abc import Mapping
from typing import Any

from samplewise.checks import require

__all__ = ["MlflowLogger"]


class MlflowLogger:
    """Writes metrics with the epoch as step into a run of MLflow.

    A training that begins at epoch 0 gets a new run. One that begins later, after a resume, continues the
    newest run of this name, and leaves epochs as they are that the run has.

    Args:
        uri: of the store, such as a folder, `sqlite:///mlflow.db` or a server. None: as MLflow is set up.
        experiment: its name. It is made if there is none.
        name: of the run.

    Raises:
        ImportError: if mlflow is not installed (extra `mlflow`).
    """

    def __init__(
        self, uri: str | None = None, experiment: str = "samplewise", name: str = "samplewise"
    ) -> None:
        require("mlflow", "mlflow")
        self.uri, self.experiment, self.name = uri, experiment, name
        self._client: Any = None
        self._run: str | None = None
        self._last = -1

    def log(self, epoch: int, values: Mapping[str, float]) -> None:
        """Write the metrics of an epoch."""
        if self._run is None:
            self._open(epoch)
        if epoch <= self._last:
            return
        entities = require("mlflow.entities", "mlflow")
        time = require("mlflow.utils.time", "mlflow").get_current_time_millis()
        metrics = [entities.Metric(name, value, time, epoch) for name, value in values.items()]
        self._client.log_batch(self._run, [*metrics, entities.Metric("epoch", float(epoch), time, epoch)])
        self._last = epoch

    def close(self) -> None:
        """Mark the run as finished."""
        if self._run is not None:
            self._client.set_terminated(self._run)
            self._run, self._last = None, -1

    def _open(self, epoch: int) -> None:
        """Make a run, or find the one to continue and the last epoch that it has."""
        self._client = require("mlflow", "mlflow").MlflowClient(self.uri)
        found = self._client.get_experiment_by_name(self.experiment)
        home = self._client.create_experiment(self.experiment) if found is None else found.experiment_id
        runs = []
        if epoch:
            named = f"tags.`mlflow.runName` = '{self.name}'"
            runs = self._client.search_runs([home], named, max_results=1, order_by=["start_time DESC"])
        if not runs:
            self._run = self._client.create_run(home, run_name=self.name).info.run_id
            return
        self._run = runs[0].info.run_id
        self._client.update_run(self._run, status="RUNNING")
        steps = [metric.step for metric in self._client.get_metric_history(self._run, "epoch")]
        self._last = max(steps, default=-1)
