"""What only an accelerator can show: waits in a step, half precision, compiled models, and the clock.

    python benchmarks/gpu.py --data cifar10.npz --minutes 10 --out benchmarks/results/gpu.json
    python benchmarks/gpu.py --quick --device cpu --out quick.json

One process. The file and a page beside it are written after each row. A row that would begin after
`--minutes` is left out, and the page says how many were. On a CPU the script shows only that it works: there
nothing waits, and the times are those of the CPU.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from gpu_page import Row, page
from gpu_training import BF16, FORMS, Images, Training, cifar, in_turns, parts, shifted, spread

import samplewise as sw
from samplewise.bench import machine
from samplewise.bench.judge.ladder import rungs
from samplewise.testing.trace import build

WAITS = (
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaEventSynchronize",
    "aten::_local_scalar_dense",
)
"""Events of the profiler in which the host waits, or reads a number."""
COUNTED = {"importance_sampling", "selective_backprop", "auto_assist", "rho_tokens"}
"""Recipes that draw how many rows train, or look up ids in a file. The host has to read these numbers."""
STEPPED = ("full", "infobatch", "ordered_sgd", "evolved_sampling", "loss_sampling")


class Bench:
    """The rows of one call: where they run, how many, and until when."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.device, self.quick, self.out = torch.device(given.device), given.quick, given.out
        self.file, self.until = given.data, time.monotonic() + 60 * given.minutes
        self.backend = "eager" if given.quick else "inductor"
        self.rounds = 2 if given.quick else 60
        self.network, self.b = ("cnn", 16) if given.quick else ("resnet18", 512)
        self.rows: list[Row] = []
        self.left_out = 0

    def add(self, part: str, name: str, run: Callable[[], Row]) -> None:
        """Do a row and write everything. An error is a row too: the others are still worth having."""
        if time.monotonic() > self.until:
            self.left_out += 1
            return
        try:
            found = run()
        except (RuntimeError, ValueError, TypeError) as error:
            if self.quick:
                raise
            found = {"error": f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"}
        self.rows.append({"part": part, "name": name} | found)
        print(json.dumps(self.rows[-1]), flush=True)
        self.write()

    def write(self) -> None:
        """The rows as JSON, and as a page."""
        about = machine.machine(str(self.device)) | machine.versions()
        found = {"machine": about, "quick": self.quick, "left_out": self.left_out, "rows": self.rows}
        self.out.write_text(json.dumps(found, indent=1) + "\n")
        self.out.with_suffix(".md").write_text(page(found))

    # ------------------------------------------------------------------------------------ parts

    def waits(self) -> None:
        """By recipe: how often a step makes the host wait. On CUDA, torch also refuses to wait in it."""
        data = Images.of_noise(32 if self.quick else 1024, 8, self.device)
        for name in sorted(sw.recipes.all()):
            self.add("waits", name, lambda name=name: self._waits(name, data))

    def _waits(self, name: str, data: Images) -> Row:
        policy = build(sw.recipes.get(name), len(data), period=1)
        run, steps, events = Training(policy, data, "cnn", self.b // 2, epochs=10), 0, Counter()
        refused = self.device.type == "cuda" and name not in COUNTED
        activities = [torch.profiler.ProfilerActivity.CPU]
        if self.device.type == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        for _ in range(2 * len(run.loader)):  # the second epoch is planned from what the first has seen
            batch = run.next()
            with torch.profiler.profile(activities=activities) as profiler:
                if refused:
                    torch.cuda.set_sync_debug_mode("error")
                try:
                    loss = run.selector.loss(batch)
                finally:
                    if refused:
                        torch.cuda.set_sync_debug_mode("default")
            run.optimizer.zero_grad()
            torch.autograd.backward(loss)
            run.optimizer.step()
            steps += 1
            events.update({event.key: event.count for event in profiler.key_averages() if event.key in WAITS})
        return {"steps": steps, "refused": refused, "waits": {key: n / steps for key, n in events.items()}}

    def precision(self) -> None:
        """Steps in bfloat16 and with the channels last, and how well their losses rank."""
        data = Images.of_noise(*((32, 8) if self.quick else (4096, 32)), self.device)
        for name in STEPPED:
            for form in [form for form in FORMS if form != "float32"]:
                title = f"{name}, {form}"
                self.add("precision", title, lambda name=name, form=form: self._precision(name, form, data))

    def _precision(self, name: str, form: str, data: Images) -> Row:
        runs = {it: Training(name, data, self.network, self.b, **FORMS[it]) for it in ("float32", form)}
        seconds = in_turns(runs, self.rounds // 2)
        exact, other = runs["float32"], runs[form]
        other.model.load_state_dict(exact.model.state_dict())
        batch, k = exact.taken(torch.arange(self.b)), self.b // 4
        with torch.no_grad():
            losses = [run.forward(batch).loss for run in (exact, other)]
        highest, found = ({*loss.topk(k).indices.tolist()} for loss in losses)
        shares = [mine / full for mine, full in zip(seconds[form], seconds["float32"], strict=True)]
        return {
            "step": spread(seconds[form]),
            "share": spread(shares),
            "overlap": len(highest & found) / k,
            "finite": bool(losses[1].isfinite().all()),
        }

    def compiled(self) -> None:
        """`torch.compile` of the model: the same choices, graphs, and seconds of a step."""
        data = Images.of_noise(*((32, 8) if self.quick else (4096, 32)), self.device)
        for name in STEPPED:
            self.add("compiled", name, lambda name=name: self._compiled(name, data))

    def _compiled(self, name: str, data: Images) -> Row:
        counters = torch._dynamo.utils.counters["stats"]  # torch has no public count of graphs
        torch._dynamo.reset()
        before = counters["unique_graphs"]
        runs = {"eager": Training(name, data, self.network, self.b)}
        runs["compiled"] = Training(name, data, self.network, self.b, backend=self.backend)
        seconds = in_turns(runs, self.rounds, warm=10 if not self.quick else 2)
        share = [mine / eager for mine, eager in zip(seconds["compiled"], seconds["eager"], strict=True)]
        times = [run.selector.engine.times_selected.cpu() for run in runs.values()]
        return {
            "step": spread(seconds["compiled"]),
            "share": spread(share),
            "graphs": counters["unique_graphs"] - before,
            "same_choices": float((times[0] == times[1]).double().mean()),
        }

    def overhead(self) -> None:
        """By recipe: what selection adds to a step of a tiny model, against a step without a Selector."""
        data = Images.of_noise(32 if self.quick else 1024, 8, self.device)
        for name, recipe in sorted(sw.recipes.all().items()):
            if recipe.level != "static":
                self.add("overhead", name, lambda name=name: self._overhead(name, data))

    def _overhead(self, name: str, data: Images) -> Row:
        policy = build(sw.recipes.get(name), len(data), period=1)
        run, bare = Training(policy, data, "mlp", self.b), Training("full", data, "mlp", self.b)
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        for number in range(self.rounds + 5):
            ours = run.timed()
            batch = bare.next()
            begun = machine.clock(self.device)
            loss = bare.forward(batch.data).loss.mean()
            bare.optimizer.zero_grad()
            torch.autograd.backward(loss)
            bare.optimizer.step()
            plain = machine.clock(self.device) - begun
            if number >= 5:
                seconds["ours"].append(ours)
                seconds["plain"].append(plain)
        added = [mine - without for mine, without in zip(seconds["ours"], seconds["plain"], strict=True)]
        return {"added": spread(added), "plain": spread(seconds["plain"])}

    def scoring(self) -> None:
        """A step of ResNet-18 with each scoring option, as a share of a full step, float32 and bfloat16."""
        data = Images.of_noise(*((32, 8) if self.quick else (4096, 32)), self.device)
        options = {
            "full loss": sw.Scoring(), "bf16": sw.Scoring(dtype=BF16), "every=2": sw.Scoring(every=2),
            "half": sw.Scoring(view=sw.views.half), "at=stages.1": sw.Scoring(at="stages.1"),
            "bf16 + half": sw.Scoring(dtype=BF16, view=sw.views.half),
            "bf16 + at=stages.1": sw.Scoring(dtype=BF16, at="stages.1"),
            "bf16 + half + at=stages.1": sw.Scoring(dtype=BF16, view=sw.views.half, at="stages.1"),
        }  # fmt: skip
        for keep in (0.25,) if self.quick else (0.25, 0.5):
            for form in ("float32",) if self.quick else ("float32", "bfloat16, channels last"):
                for option, scoring in options.items():
                    title = f"{option}, keep {keep}, model in {form}"
                    self.add("scoring", title, lambda k=keep, f=form, s=scoring: self._share(k, f, s, data))

    def _share(self, keep: float, form: str, scoring: sw.Scoring, data: Images) -> Row:
        policy = sw.recipes.evolved_sampling(keep=keep, anneal=0.0)  # `every` needs a method with a memory
        runs = {"full": Training("full", data, "resnet18", self.b, **FORMS[form])}
        runs["scored"] = Training(policy, data, "resnet18", self.b, **FORMS[form], scoring=scoring)
        # With every=2 only every second epoch is scored, so the mean of two epochs is one measurement.
        two_epochs = 2 * len(runs["full"].loader)
        seconds = in_turns(runs, (1 if self.quick else 4) * two_epochs, warm=two_epochs)
        means = {name: np.reshape(spent, (-1, two_epochs)).mean(1) for name, spent in seconds.items()}
        return {"share": spread(means["scored"] / means["full"]), "step": spread(means["scored"])}

    def training(self) -> None:
        """CIFAR-10 with ResNet-18 in bfloat16: full training, its ladder, infobatch, evolved_sampling."""
        self.longest = 4 if self.quick else 15
        shorter = [("full", rung) for rung in rungs(self.longest) if rung < self.longest]
        runs = [(name, self.longest) for name in ("full", "infobatch", "evolved_sampling")] + shorter
        data, test = cifar(self.file, self.device, self.quick)
        for seed in range(1 if self.quick else 3):
            for name, epochs in runs:
                title = f"{name}, {epochs} epochs, seed {seed}"
                self.add("training", title, lambda run=(name, epochs, seed): self._train(*run, data, test))

    def _train(self, name: str, epochs: int, seed: int, data: Images, test: Images) -> Row:
        torch.manual_seed(seed)
        run = Training(
            name, data, self.network, self.b, epochs, lr=0.2, seed=seed, **FORMS["bfloat16, channels last"]
        )
        begun = machine.clock(self.device)
        for _ in range(epochs):
            for batch in run.loader:
                done = run.selector.progress
                for group in run.optimizer.param_groups:  # up in a fifth of the training, then down to 0
                    group["lr"] = run.lr * min(done / 0.2, (1 - done) / 0.8) + 1e-4
                moved = batch.to(run.device, non_blocking=True)
                x, y = run.taken(moved.data)
                run.step(sw.Batch(moved.ids, (shifted(x), y)))
        seconds = machine.clock(self.device) - begun
        run.model.eval()
        with torch.no_grad():
            right = [run.forward((x, y)).logits.argmax(1) == y for x, y in parts(test)]
        cost = run.selector.ledger.cost_share * epochs / self.longest
        accuracy = 100 * float(torch.cat(right).float().mean())
        return {"accuracy": accuracy, "seconds": seconds, "cost": cost}


PARTS = ("waits", "precision", "compiled", "overhead", "scoring", "training")


def main() -> None:
    """Do the parts, in their order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", default="cifar10.npz", help="CIFAR-10, with train_x, train_y, test_x, test_y"
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--minutes", type=float, default=10.0, help="no row begins after these")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few steps of small models, on noise")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    given = parser.parse_args()
    try:
        torch.empty(0, device=given.device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA raises AssertionError
        reason = str(error).strip().splitlines()[0]
        parser.error(f"--device {given.device} cannot be used: {reason}. Try --quick --device cpu.")
    if "training" in given.part and not given.quick and not Path(given.data).is_file():
        parser.error(f"--data must be the file of CIFAR-10, got {given.data}, which is not there.")
    bench = Bench(given)
    for part in given.part:
        getattr(bench, part)()
    bench.write()


if __name__ == "__main__":
    main()
