"""Loggers: the numbers of every epoch into CSV, TensorBoard, Weights & Biases or MLflow, from any loop."""

from samplewise.integrations.loggers.attached import Attached, EpochLogger, attach
from samplewise.integrations.loggers.csv_file import CsvLogger
from samplewise.integrations.loggers.mlflow_runs import MlflowLogger
from samplewise.integrations.loggers.tensorboard_events import TensorBoardLogger
from samplewise.integrations.loggers.values import epoch_values
from samplewise.integrations.loggers.wandb_runs import WandbLogger

__all__ = [
    "Attached",
    "CsvLogger",
    "EpochLogger",
    "MlflowLogger",
    "TensorBoardLogger",
    "WandbLogger",
    "attach",
    "epoch_values",
]
