"""`Study`: methods against ordinary training of the same cost."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from samplewise.bench import files
from samplewise.bench.judge import Verdict
from samplewise.bench.lock import folder_alone
from samplewise.bench.settings import Settings
from samplewise.bench.study import outputs
from samplewise.bench.study.beside import put_beside
from samplewise.bench.study.cache import Rows
from samplewise.bench.study.claims import Claim, read_claims
from samplewise.bench.study.estimate import Estimate, estimate
from samplewise.bench.study.images import TASK_SETTINGS, ImageTrainer
from samplewise.bench.study.jobs import FULL, Job, digest
from samplewise.bench.study.own import OwnTraining
from samplewise.bench.study.plan import Plan
from samplewise.bench.study.published import Published, published
from samplewise.bench.study.results import Results, results_of
from samplewise.bench.study.running import Failure, Watcher, do_all, said
from samplewise.bench.study.scales import parts_of
from samplewise.bench.study.spec import (
    CONTROLS,
    At,
    Spec,
    check_methods,
    located,
    parsed,
    read_toml,
    written,
)
from samplewise.bench.study.tasks import encoder_beside, source_of, trainer_of
from samplewise.bench.study.text import TextTrainer
from samplewise.bench.study.trainer import Trainer
from samplewise.checks import Range, nearest

__all__ = ["FailedRunsError", "Quiet", "Study"]

_SHARE = Range(0, 0.5, open_low=True)
_ABOUT = tuple(field.name for field in fields(Spec) if field.name not in ("methods", "epochs"))


class Quiet:
    """A watcher that shows nothing."""

    def began(self, job: Job, missing: int) -> None:
        """Nothing."""

    def stepped(self, progress: float) -> None:
        """Nothing."""

    def ended(self, job: Job, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def failed(self, job: Job, error: Exception) -> None:
        """Nothing."""


class FailedRunsError(ValueError):
    """Runs raised errors. All others are finished, and the files are written.

    Args:
        failures: the runs, with their errors.
    """

    def __init__(self, failures: list[Failure]) -> None:
        job, error = failures[0]
        more = f" {len(failures) - 1} more runs failed." if len(failures) > 1 else ""
        super().__init__(
            f"{job.named} failed: {said(error)}{more} Finished runs are kept; the same command repeats only "
            "what is missing."
        )
        self.failures = failures


class Study:
    """Judges methods by runs with seeds, beside a ladder of ordinary training and random controls.

    Finished runs are rows of `rows.jsonl` in the folder. They are never repeated: a second call, or a call on
    another machine that has the file, does only what is missing.

    Args:
        train: your training, `train(policy, seed, epochs, report) -> results on test data`. It gives the
            policy to `sw.Selector`, trains for `epochs`, and calls `report(selector, validation, test)` after
            every epoch with results by name. The ledger of the selector gives the cost. Or a `Trainer`.
        methods: as on the command line, without `full`.
        epochs: of full training.
        seeds: runs of every method. A verdict needs 5, and wants 10.
        metric: the result that is judged, as `train` names it.
        delta: the smallest difference that matters. It can be left out for `accuracy` (0.3) and `loss`
            (0.02).
        higher: whether a higher metric is better. By default only `loss` is better when it is lower.
        controls: whether the random controls run.
        at, tune, tune_seeds: as in `Spec`. Only a `Trainer` can tune.
        out: the folder of the study; by default `runs/NAME`.
        key: names your training. Rows are kept under it. By default it is the digest of the source of
            `train`.
        name: a title.
        question: what the study asks, in a sentence.
        names: what tables and pictures call a method, by its text.
        claims: that one method is better than another, such as
            `{"says": "A higher keep helps", "better": "ucb:keep=0.5", "than": "ucb:keep=0.3"}`. Each gets an
            answer from the same runs.

    Raises:
        ValueError: for settings that cannot be, methods that are not known, or a ladder of one rung.
    """

    def __init__(
        self,
        train: Callable[..., Mapping[str, float]] | Trainer,
        methods: Sequence[str],
        *,
        epochs: int,
        seeds: int = 10,
        metric: str = "accuracy",
        at: At = "last",
        delta: float | None = None,
        higher: bool | None = None,
        controls: bool = True,
        tune: bool = False,
        tune_seeds: int = 2,
        out: str | Path | None = None,
        key: str | None = None,
        name: str = "study",
        question: str = "",
        names: Mapping[str, str] | None = None,
        claims: Sequence[Claim | Mapping[str, Any]] = (),
    ) -> None:
        if isinstance(methods, str):
            raise ValueError(f"methods must be a list of texts, got {methods!r}. Write [{methods!r}].")
        known = train.metrics() if isinstance(train, Trainer) else ()
        if known and metric not in known:
            raise ValueError(
                f"metric must be one of {', '.join(known)}, got {metric!r}.{nearest(str(metric), known)}"
            )
        self.spec = spec = Spec(
            tuple(methods),
            epochs,
            seeds,
            metric,
            at,
            delta,
            controls,
            tune,
            tune_seeds,
            higher,
            name,
            question,
            names or {},
            read_claims(claims),
        )
        self.folder = Path(out or Path("runs") / name)
        if not isinstance(train, Trainer):
            if tune:
                raise ValueError("tune must be False for your own training: it takes no learning rate.")
            train = OwnTraining(train, metric, spec.sign, key, at)
        self.trainer = train
        self.published: tuple[Published, ...] = ()
        self._rows: Rows | None = None

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        out: str | Path | None = None,
        data: str | None = None,
        methods: Sequence[str] = (),
        seeds: int | None = None,
        save_models: bool = False,
        scale: str | None = None,
        part: str | None = None,
    ) -> "Study":
        """Read a study file.

        Args:
            path: of the TOML file.
            out: the folder of the study; by default the path without its suffix. A scale and a part have
                folders of their own in it.
            data: replaces the source of the data, or is a folder where the study's file lies. The rows depend
                on the data, not on where they lie.
            methods: further methods.
            seeds: replaces the number of seeds. Finished runs are used again.
            save_models: whether every run keeps its trained model in the folder.
            scale: "small" or "paper", if the file has scales; by default what it says.
            part: which part, if the file has parts; see `parts`.

        Raises:
            ValueError: if the file, its task or its methods cannot be used.
        """
        path = Path(path)
        content = read_toml(path, scale, part)
        task = dict(content["task"])
        for key in task:
            if key not in (*TASK_SETTINGS, "epochs"):
                known = (*TASK_SETTINGS, "epochs")
                above = key in content or key in _ABOUT or key in ("method", "validation", "budgets")
                hint = " It belongs above [task]." if above else nearest(key, known)
                raise ValueError(f"{path}: [task] has an unknown key {key!r}.{hint}")
        if "epochs" not in task:
            raise ValueError(f"{path}: [task] must have epochs, the length of full training.")
        share = content.get("validation", 0.1)
        if not isinstance(share, float) or share not in _SHARE:
            raise ValueError(f"{path}: validation must be {_SHARE}, got {share!r}.")
        known = written(content["methods"], content.get("budgets", ()), path.parent)
        methods = (*known, *methods)
        check_methods(methods)
        if not isinstance(task.get("data", ""), str):
            raise ValueError(f"{path}: [task] data must be text, got {task['data']!r:.80}.")
        source = source_of(path, task.get("data", "digits"), data)
        chosen: dict[str, Any] = {"threads": 1} | task | {"data": source, "method": (FULL, *methods)}
        if isinstance(task.get("model"), str):
            chosen["model"] = encoder_beside(path, task["model"])
        chosen_of = [str(word) for word in (content.get("scale"), part) if word is not None]
        folder = (Path(out) if out is not None else path.with_suffix("")).joinpath(*chosen_of)
        trainer = trainer_of(
            Settings.made(**chosen).resolved(),
            share,
            folder / "work",
            (*CONTROLS, *methods),
            content.get("metric"),
            folder if save_models else None,
        )
        about: dict[str, Any] = {"metric": trainer.metrics()[0]}
        about |= {key: value for key, value in content.items() if key in _ABOUT}
        about |= {} if seeds is None else {"seeds": seeds}
        claims = read_claims(content.get("claims", ()))
        about["claims"] = [claim.renamed(lambda name: located(name, path.parent)) for claim in claims]
        if not isinstance(called := content.get("names", {}), Mapping):
            raise ValueError(f"{path}: names must be a table [names], got {called!r:.80}.")
        about["names"] = {located(text, path.parent): name for text, name in called.items()}
        about["name"] = ", ".join([content.get("name", path.stem), *chosen_of])
        study = cls(trainer, methods, epochs=task["epochs"], out=folder, **about)
        study.published = published(
            content.get("published", []),
            path,
            part,
            (*study.spec.control_methods, *methods),
            study.spec.epochs,
            (study.spec.metric, *trainer.metrics()),
        )
        return study

    @staticmethod
    def parts(path: str | Path) -> tuple[str, ...]:
        """The names of the parts of a study file; empty if it is one study.

        Raises:
            ValueError: if the file cannot be read.
        """
        return parts_of(parsed(Path(path)))

    @property
    def settings(self) -> Settings:
        """The settings of the task.

        Raises:
            ValueError: for your own training, which has none.
        """
        if not isinstance(self.trainer, ImageTrainer | TextTrainer):
            raise ValueError("your own training has no settings of samplewise train.")
        return self.trainer.settings

    @property
    def plan(self) -> Plan:
        """What is to run and what has run."""
        if self._rows is None:
            task = self.trainer.task()
            self._refuse_other_task(task)
            self._rows = Rows(self.folder / "rows.jsonl", digest(task))
        return Plan(self.spec, self._rows)

    def run(self, jobs: int = 1, watcher: Watcher | None = None) -> Results:
        """Do every missing run, then write the outputs. Return the results.

        Args:
            jobs: processes that run at the same time.
            watcher: is told of the progress.

        Raises:
            ValueError: if a method cannot run on the task, before the first run.
            FailedRunsError: at the end, if runs raised errors.
        """
        _check_jobs(jobs)
        outputs.needs()
        with folder_alone(self.folder):
            plan = self.plan
            if any(True for _ in plan.missing()):
                self.trainer.check(plan.judged)
            files.write_json(
                self.folder / "study.json", {"hash": plan.rows.task, "task": self.trainer.task()}
            )
            try:
                failures = do_all(plan, self.trainer, watcher or Quiet(), jobs)
            finally:  # what has finished can be looked at after Ctrl-C, too
                if len(plan.rows):
                    outputs.write(self.folder, self.results(), plan.rows)
        if failures:
            raise FailedRunsError(failures) from failures[0][1]
        return self.results()

    def estimate(self, jobs: int = 1) -> Estimate:
        """What the missing runs will take. Nothing is trained for a result, and nothing is written.

        Args:
            jobs: processes that run at the same time.

        Raises:
            ValueError: if a method cannot run on the task.
        """
        _check_jobs(jobs)
        return estimate(self.plan, self.trainer, jobs)

    def results(self) -> Results:
        """What the finished runs say."""
        plan = self.plan
        found = results_of(plan, self.spec.name, self.spec.question, plan.rows.task)
        return replace(found, published=put_beside(self.published, found))

    def verdicts(self) -> dict[str, Verdict]:
        """The verdict of every method that has one."""
        return self.results().verdicts

    def _refuse_other_task(self, task: dict[str, Any]) -> None:
        """Raise if the folder holds rows of another task, and say what differs."""
        about = self.folder / "study.json"
        if not about.exists() or not (self.folder / "rows.jsonl").exists():
            return
        stored = files.read_json(about).get("task", {})
        mine = {**task, **task.get("settings", {})}
        theirs = {**stored, **stored.get("settings", {})}
        changed = [
            f"{key} was {theirs.get(key)!r:.60}, now {mine.get(key)!r:.60}"
            for key in sorted({*mine, *theirs} - {"settings"})
            if theirs.get(key) != mine.get(key)
        ]
        if changed:
            raise ValueError(
                f"{self.folder} holds rows of another task: {'; '.join(changed)}. Rows of two tasks are not "
                "mixed. Restore the study's settings, or choose another --out."
            )


def _check_jobs(jobs: int) -> None:
    if not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1:
        raise ValueError(f"jobs must be a whole number >= 1, got {jobs!r}.")
