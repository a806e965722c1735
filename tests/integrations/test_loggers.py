"""Loggers: the same numbers from every loop, every epoch once after a resume, and no harm by a faulty one."""

import copy
import csv
import importlib.util
import math
import pickle
import warnings

import pytest
import torch

import samplewise as sw
from samplewise.integrations.loggers import (
    CsvLogger,
    EpochLogger,
    MlflowLogger,
    TensorBoardLogger,
    WandbLogger,
    attach,
    epoch_values,
)
from tests.seams.toys import N, Plain, make, plainly, train

STAGES = ("data", "scoring", "selecting", "training")


class Noting:
    """Keeps what it is told."""

    def __init__(self):
        self.rows, self.closed = {}, 0

    def log(self, epoch, values):
        assert epoch not in self.rows
        self.rows[epoch] = dict(values)

    def close(self):
        self.closed += 1


class Faulty(Noting):
    def log(self, epoch, values):
        raise OSError("no space left on device")


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def untimed(row):
    """The numbers that no clock decides."""
    clocked = ("seconds_", "wall", "overhead", "realised")
    return {name: value for name, value in row.items() if not name.startswith(clocked)}


def test_a_plain_loop_logs_every_epoch():
    selector, model = make("infobatch", model=Plain())
    noting = Noting()
    attach(selector, noting)
    seen = train(selector, model, loader=selector.loader())
    assert [*noting.rows] == [0, 1, 2, 3]
    assert noting.closed == 1
    trained = 0
    for epoch, row in noting.rows.items():
        kept = len([i for ids in seen[epoch] for i in ids])
        trained += kept
        assert row["samples_backpropagated"] == trained
        assert row["kept_share"] == pytest.approx(kept / N)
        assert row["cost"] == 3 * trained
        assert row["promised"] == pytest.approx(1 - trained / (N * (epoch + 1)))
        assert all(row[f"seconds_{stage}"] >= 0 for stage in STAGES)
    assert noting.rows[1]["kept_share"] < 1


def test_the_share_of_a_batch_method_is_that_of_its_rows():
    selector, model = make(sw.recipes.loss_sampling(keep=0.25))
    noting = Noting()
    attach(selector, noting)
    train(selector, model, loader=selector.loader())
    assert [row["kept_share"] for row in noting.rows.values()] == [0.25] * 4


def test_quantiles_are_values_of_the_score():
    selector, _ = make(sw.recipes.ucb(keep=1.0), epochs=2, batch_size=None)
    selector.plan(0)
    losses = torch.arange(1.0, N + 1)
    selector.observe(torch.arange(0, N, 2), losses[::2], source="pass")
    found = epoch_values(selector)
    known = losses[::2].tolist()
    assert found["score_missing"] == 0.5
    for q in (5, 25, 50, 75, 95):
        assert found[f"score_q{q:02d}"] == known[max(1, math.ceil(q / 100 * len(known))) - 1]


def test_methods_without_scores_and_numbers_without_a_value_are_left_out():
    selector, _ = make("full")
    found = epoch_values(selector)
    assert "score_missing" not in found
    assert "realised" not in found
    assert "baseline" not in found


def test_shares_of_groups_are_logged():
    groups = sw.Groups(["web" if i % 4 else "books" for i in range(N)], shares={"web": 1, "books": 1})
    selector, model = make(sw.recipes.random_dynamic(keep=0.5, period=1), groups=groups)
    noting = Noting()
    attach(selector, noting)
    train(selector, model, loader=selector.loader())
    told = [name for name in noting.rows[0] if name.startswith("last_")]
    assert any("web" in name for name in told)
    shares = [noting.rows[0][name] for name in told if "share" in name]
    assert sum(shares) == pytest.approx(1)


def test_a_faulty_logger_is_left_out_and_training_is_as_without_it():
    alone, plain_model = make("evolved_sampling")
    plain = train(alone, plain_model)
    selector, model = make("evolved_sampling")
    noting, faulty = Noting(), Faulty()
    attach(selector, faulty, noting)
    with pytest.warns(UserWarning, match=r"Faulty\.log raised OSError: no space left") as caught:
        seen = train(selector, model)
    assert len([w for w in caught if "Faulty" in str(w.message)]) == 1
    assert seen == plain
    assert [*noting.rows] == [0, 1, 2, 3]
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), plain_model.state_dict().values(), strict=True)
    )


def test_ctrl_c_in_a_logger_stops_the_training():
    class Interrupted(Noting):
        def log(self, epoch, values):
            raise KeyboardInterrupt

    selector, model = make("full")
    attach(selector, Interrupted())
    with pytest.raises(KeyboardInterrupt):
        train(selector, model)


def test_closing_ends_the_log():
    selector, model = make("full")
    noting = Noting()
    with attach(selector, noting):
        train(selector, model, until=2)
    train(selector, model)
    assert [*noting.rows] == [0, 1]
    assert noting.closed == 1


def test_copies_of_a_selector_log_nothing():
    selector, model = make("infobatch")
    noting = Noting()
    attach(selector, noting)
    for twin in (
        copy.deepcopy(selector.timeline.closed),
        pickle.loads(pickle.dumps(selector.timeline.closed)),
    ):
        assert twin.added == []
    train(selector, model)
    assert len(noting.rows) == 4


def test_only_loggers_are_attached():
    code = """
import samplewise as sw
from samplewise.integrations.loggers import CsvLogger, attach
for wrong in (print, CsvLogger, "log.csv"):
    try:
        attach(sw.Selector("full", 4, epochs=1), wrong)
    except TypeError as error:
        print(error)
"""
    said = plainly(code).splitlines()
    assert len(said) == 3
    assert all(line.startswith("attach takes loggers with the methods log and close, got") for line in said)
    assert isinstance(Noting(), EpochLogger)


def continued(tmp_path, made, *, stop=1, again=0):
    """A training that logs, is killed after some epochs, and continues from a checkpoint `again` epochs back.

    Returns the loggers of the second half, which continue the logs of the first.
    """
    selector, model = make("infobatch")
    first = attach(selector, *made())
    states = {}
    for epoch in range(stop + 1):
        states[epoch] = copy.deepcopy(selector.state_dict()), copy.deepcopy(model.state_dict())
        train(selector, model, until=epoch + 1)
    states[stop + 1] = selector.state_dict(), model.state_dict()
    first.close()
    selector, model = make("infobatch")
    state, weights = states[stop + 1 - again]
    selector.load_state_dict(state)
    model.load_state_dict(weights)
    attach(selector, *made())
    train(selector, model)
    return selector


@pytest.mark.parametrize("again", [0, 1])
def test_a_resumed_csv_has_every_epoch_once(tmp_path, again):
    path = tmp_path / "logs" / "log.csv"
    selector = continued(tmp_path, lambda: [CsvLogger(path)], again=again)
    rows = rows_of(path)
    assert [row["epoch"] for row in rows] == ["0", "1", "2", "3"]
    assert float(rows[-1]["cost"]) == selector.ledger.cost
    assert [entry.name for entry in path.parent.iterdir()] == ["log.csv"]


def test_a_csv_gets_columns_that_come_later_and_starts_anew_at_epoch_0(tmp_path):
    path = tmp_path / "log.csv"
    log = CsvLogger(path)
    log.log(0, {"a": 1.0})
    log.log(1, {"a": 0.1, "b": 2e-9})
    assert rows_of(path) == [{"epoch": "0", "a": "1.0", "b": ""}, {"epoch": "1", "a": "0.1", "b": "2e-09"}]
    CsvLogger(path).log(0, {"a": 3.0})
    assert rows_of(path) == [{"epoch": "0", "a": "3.0"}]


@pytest.mark.parametrize("text", ["name,age\nx,1\n", "epoch,a\nx,1\n"])
def test_a_csv_of_something_else_is_left_as_it_is(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"is no log of epochs"):
        CsvLogger(path).log(0, {"a": 1.0})
    assert path.read_text() == text


@pytest.mark.parametrize("again", [0, 1])
def test_tensorboard_shows_every_epoch_once(tmp_path, again):
    with warnings.catch_warnings(action="ignore"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    selector = continued(tmp_path, lambda: [TensorBoardLogger(tmp_path / "tb")], again=again)
    shown = EventAccumulator(str(tmp_path / "tb"))
    shown.Reload()
    events = shown.Scalars("samplewise/cost")
    assert [event.step for event in events] == [0, 1, 2, 3]
    assert events[-1].value == pytest.approx(selector.ledger.cost)
    assert "samplewise/kept_share" in shown.Tags()["scalars"]


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("again", [0, 1])
def test_mlflow_has_every_epoch_once(tmp_path, monkeypatch, again):
    """In its file store, which MLflow asks to allow, and in SQLite."""
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    uri = f"sqlite:///{tmp_path}/mlflow.db" if again else (tmp_path / "mlruns").as_uri()
    selector = continued(tmp_path, lambda: [MlflowLogger(uri, "mine", "run")], again=again)
    client = mlflow.MlflowClient(uri)
    (run,) = client.search_runs([client.get_experiment_by_name("mine").experiment_id])
    assert run.info.run_name == "run"
    assert run.info.status == "FINISHED"
    history = client.get_metric_history(run.info.run_id, "cost")
    assert [metric.step for metric in history] == [0, 1, 2, 3]
    assert history[-1].value == selector.ledger.cost


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("again", [0, 1])
def test_wandb_offline_has_every_epoch_once(tmp_path, monkeypatch, again):
    import json

    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    continued(tmp_path, lambda: [WandbLogger("mine", "run", tmp_path, mode="offline")], again=again)
    wandb.teardown()  # its process writes the files
    steps, ids = [], set()
    for file in sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb")):
        found, run_id = history_of(file)
        steps += found
        ids.add(run_id)
    assert sorted(steps) == [0, 1, 2, 3]
    assert len(ids) == 1
    assert json.loads((tmp_path / "wandb-run.json").read_text())["epoch"] == 3


def history_of(file):
    """The epochs in a file of a run, and the id of the run.

    The file has a head of 7 bytes and blocks of 32 KiB. A part of a record has a head of 7 bytes: a checksum,
    its length, and whether it is whole (1), the first (2), middle (3) or last (4) part.
    """
    import json

    from wandb.proto import wandb_internal_pb2

    raw, at, whole, epochs, run_id = file.read_bytes(), 7, b"", [], None
    while at + 7 <= len(raw):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        length, kind = int.from_bytes(raw[at + 4 : at + 6], "little"), raw[at + 6]
        whole, at = whole + raw[at + 7 : at + 7 + length], at + 7 + length
        if kind in (2, 3):
            continue
        record, whole = wandb_internal_pb2.Record.FromString(whole), b""
        if record.WhichOneof("record_type") == "history":
            items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}
            epochs.append(json.loads(items["epoch"]))
        elif record.WhichOneof("record_type") == "run":
            run_id = record.run.run_id
    return epochs, run_id


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
def test_lightning_logs_the_same_numbers():
    from tests.integrations import lightning_toys as toys

    net, other = toys.Net(), toys.Net()
    selector, noting = toys.select("infobatch", net), Noting()
    attach(selector, noting)
    torch.manual_seed(3)
    toys.trainer_for(selector).fit(net, selector.loader())
    reference, plain = toys.select("infobatch", other), Noting()
    attach(reference, plain)
    toys.loop_of(reference, other)
    assert [*noting.rows] == [0, 1, 2, 3]
    assert [untimed(row) for row in noting.rows.values()] == [untimed(row) for row in plain.rows.values()]
    assert noting.closed == plain.closed == 1


def test_accelerate_logs_every_epoch():
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState, GradientState

    from samplewise.integrations.accelerate import prepare

    try:
        selector, model = make("infobatch", model=Plain())
        loader, noting = prepare(selector, Accelerator(cpu=True)), Noting()
        attach(selector, noting)
        train(selector, model, loader=loader)
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        GradientState._reset_state()
    assert [*noting.rows] == [0, 1, 2, 3]
    assert noting.rows[3]["cost"] == selector.ledger.cost


def test_the_trainer_logs_every_training(tmp_path):
    """Also one that is resumed: the CSV file then has every epoch once."""
    from tests.integrations import trainer_runs as runs

    path, noting = tmp_path / "log.csv", Noting()
    given = {"settings": {"loggers": [CsvLogger(path), noting]}, "save_strategy": "epoch"}
    trainer = runs.selective(tmp_path / "out", "infobatch", **given)
    trainer.train()
    assert [*noting.rows] == [0, 1, 2]
    whole = rows_of(path)
    again = runs.selective(tmp_path / "out", "infobatch", settings={"loggers": [CsvLogger(path)]})
    first = sorted((tmp_path / "out").glob("checkpoint-*"), key=lambda folder: int(folder.name[11:]))[0]
    again.train(resume_from_checkpoint=str(first))
    rows = rows_of(path)
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [untimed(row) for row in rows] == [untimed(row) for row in whole]
