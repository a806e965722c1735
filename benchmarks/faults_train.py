"""The trainings that are killed: one small task in a plain loop, Lightning, the Trainer and Accelerate.

Each training starts from the newest complete checkpoint of its folder, if there is one, and saves every few
steps. Apart from that it has no code for faults. Frameworks are imported where they are used.
"""

import hashlib
import importlib
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from faults_watch import Watch
from torch import Tensor, nn

import samplewise as sw
from samplewise.files import checkpoints

N, FEATURES, CLASSES = 120, 8, 3
BATCH, EVERY, SEED = 10, 4, 7
POLICIES = {
    "ucb": lambda: sw.recipes.ucb(keep=0.5, period=2),
    "eswp": lambda: sw.recipes.eswp(anneal=0.0),
}


@dataclass(frozen=True)
class Job:
    """One training: what to run, the folder of its checkpoints, and the object that watches it."""

    policy: str
    workers: int
    epochs: int
    folder: Path
    watch: Watch

    def selector(self, model: nn.Module, forward: Callable[[Any], Any]) -> sw.Selector:
        """As in the docs; `forward` gives per-sample losses."""
        policy = POLICIES[self.policy]()
        return sw.Selector(
            policy, Rows(), forward, model=model, epochs=self.epochs, batch_size=BATCH, seed=SEED
        )


class Rows(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples that contain their own position. So the trained ids are known without the selector."""

    def __init__(self) -> None:
        rng = torch.Generator().manual_seed(SEED)
        self.labels = torch.randint(0, CLASSES, (N,), generator=rng)
        self.x = torch.randn(N, FEATURES, generator=rng) + F.one_hot(self.labels, FEATURES)

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": self.x[index], "labels": self.labels[index], "row": index}


class Net(nn.Module):
    """A small network with dropout. It reports the rows of every forward."""

    def __init__(self, watch: Watch, dropout: float = 0.2) -> None:
        super().__init__()
        torch.manual_seed(SEED)
        self.watch = watch
        self.body = nn.Sequential(
            nn.Linear(FEATURES, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, CLASSES)
        )
        torch.manual_seed(SEED)  # the Trainer starts with the same seed, so all loops have the same dropout

    def forward(self, x: Tensor, row: Tensor, labels: Tensor | None = None) -> Any:
        self.watch.trained(row)
        return self.body(x)

    def losses(self, data: dict[str, Tensor]) -> Tensor:
        """Per-sample losses of a batch."""
        return F.cross_entropy(self(data["x"], data["row"]), data["labels"], reduction="none")


def plain(job: Job) -> tuple[nn.Module, sw.Selector]:
    """The loop of the README. It also saves torch's random state, because the network has dropout."""
    model = Net(job.watch)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    selector, step, path = job.selector(model, model.losses), 0, job.folder / "checkpoint.pt"
    if path.exists():
        state = checkpoints.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        selector.load_state_dict(state["selector"])
        torch.set_rng_state(state["rng"])
        step = state["step"]
    job.watch.note(start=step)
    loader = selector.loader(num_workers=job.workers)
    for _ in range(selector.epoch, job.epochs):
        for batch in loader:
            optimizer.zero_grad()
            selector.loss(batch).backward()
            optimizer.step()
            step += 1
            if step % EVERY == 0:
                state = {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "selector": selector.state_dict(),
                    "rng": torch.get_rng_state(),
                    "step": step,
                }
                checkpoints.save(path, state)
    return model, selector


def accelerated(job: Job) -> tuple[nn.Module, sw.Selector]:
    """Accelerate. A checkpoint of many files is written under another name and then renamed."""
    from accelerate import Accelerator

    from samplewise.integrations.accelerate import prepare

    accelerator = Accelerator(cpu=True)
    net = Net(job.watch)
    model, optimizer = accelerator.prepare(net, torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9))
    selector, step = job.selector(model, net.losses), 0
    loader = prepare(selector, accelerator, num_workers=job.workers)
    whole = sorted(job.folder.glob("step-*"), key=number)
    if whole:
        accelerator.load_state(str(whole[-1]))
        step = number(whole[-1])
    job.watch.note(start=step)
    for _ in range(selector.epoch, job.epochs):
        for batch in loader:
            optimizer.zero_grad()
            accelerator.backward(selector.loss(batch))
            optimizer.step()
            step += 1
            if step % EVERY == 0:
                partial = job.folder / "partial"
                shutil.rmtree(partial, ignore_errors=True)  # left by a run that was killed
                accelerator.save_state(str(partial))
                partial.rename(job.folder / f"step-{step}")
                for old in sorted(job.folder.glob("step-*"), key=number)[:-2]:
                    shutil.rmtree(old)
    return accelerator.unwrap_model(model), selector


def lightning(job: Job) -> tuple[nn.Module, sw.Selector]:
    """Lightning's own checkpoints. The module adds torch's random state, which Lightning leaves out."""
    from lightning import pytorch as pl

    from samplewise.integrations.lightning import SelectionCallback, weighted_mean

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(job.watch)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return weighted_mean(self, self.net.losses(batch))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["rng"] = torch.get_rng_state()

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            torch.set_rng_state(checkpoint["rng"])

        def on_train_start(self) -> None:
            job.watch.note(start=self.global_step)

    module = Module()
    selector = job.selector(module, module.net.losses)
    saver = pl.callbacks.ModelCheckpoint(job.folder, "{step}", every_n_train_steps=EVERY)
    trainer = pl.Trainer(
        max_epochs=job.epochs,
        accelerator="cpu",
        callbacks=[SelectionCallback(selector), saver],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    saved = sorted(job.folder.glob("*.ckpt"), key=number)
    trainer.fit(module, selector.loader(num_workers=job.workers), ckpt_path=saved[-1] if saved else None)
    return module.net, selector


def trainer(job: Job) -> tuple[nn.Module, sw.Selector]:
    """The Hugging Face Trainer, which saves the random states itself."""
    import transformers

    from samplewise.integrations.transformers import latest_complete_checkpoint, make_selective

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net(job.watch)

        def forward(self, x: Tensor, row: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            return {"logits": self.net(x, row)}

    class Begin(transformers.TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            job.watch.note(start=state.global_step)

    def losses(outputs: dict[str, Tensor], inputs: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs["logits"], inputs["labels"], reduction="none")

    model = Classifier()
    arguments = transformers.TrainingArguments(
        output_dir=str(job.folder),
        num_train_epochs=job.epochs,
        per_device_train_batch_size=BATCH,
        dataloader_num_workers=job.workers,
        save_steps=EVERY,
        save_total_limit=2,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=SEED,
    )
    built = transformers.Trainer(
        model,
        arguments,
        train_dataset=Rows(),
        callbacks=[Begin()],
        optimizers=(torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), None),
    )
    selective = make_selective(built, POLICIES[job.policy](), seed=SEED, per_sample_loss=losses)
    selective.train(resume_from_checkpoint=latest_complete_checkpoint(job.folder))
    return model.net, selective.selector


def number(path: Path) -> int:
    """The step in the name of a checkpoint."""
    return int(path.stem.rpartition("-")[2].rpartition("=")[2])


def digest(model: nn.Module, selector: sw.Selector) -> dict[str, str]:
    """SHA-256 over the bits of the final weights, and over the whole state of the selector."""
    weights = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        weights.update(name.encode() + value.numpy().tobytes())
    memory, table = hashlib.sha256(), selector.table()
    for name, column in sorted({**table.columns, "times": table.times_selected}.items()):
        memory.update(name.encode() + column.numpy().tobytes())
    return {"weights": weights.hexdigest(), "memory": memory.hexdigest()}


def run(framework: str, job: Job) -> None:
    """Train to the end, then log the result."""
    job.watch.hook_files()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, selector = FRAMEWORKS[framework](job)
    job.watch.note(end=digest(model, selector))


FRAMEWORKS = {"plain loop": plain, "Lightning": lightning, "Trainer": trainer, "Accelerate": accelerated}
MODULES = {
    "": ("torch._dynamo",),  # other modules import these at first use
    "plain loop": (),
    "Lightning": ("lightning.pytorch", "samplewise.integrations.lightning"),
    "Trainer": ("transformers.trainer", "samplewise.integrations.transformers"),
    "Accelerate": ("accelerate", "samplewise.integrations.accelerate"),
}


def prepare(framework: str) -> None:
    """Import what a loop needs, before processes are forked from this one."""
    for module in (*MODULES[""], *MODULES[framework]):
        importlib.import_module(module)
