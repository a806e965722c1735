"""What one run of a study trains with: the settings of its method, and where its model is kept."""

from dataclasses import replace
from typing import Any

from samplewise.bench import experiment
from samplewise.bench.settings import Settings
from samplewise.bench.study.jobs import Job

__all__ = ["model_name", "of_job"]


def of_job(settings: Settings, job: Job, n: int) -> tuple[Settings, Settings, Any]:
    """The study's settings with this method alone, those of the run, and the policy.

    Args:
        settings: of the study's task.
        job: the run.
        n: the number of training samples.
    """
    alone = replace(settings, method=(job.method,), seeds=1)
    own = replace(alone.of(job.method), epochs=job.epochs)
    own = replace(own, lr=(own.lr or 0.0) * job.lr)
    policy = alone.policies()[job.method]
    return alone, experiment.with_strategy(job.method, policy, n, own), policy


def model_name(settings: Settings, job: Job) -> str:
    """The method that a kept model is named after. A run of another length says so."""
    return job.method if job.epochs == settings.epochs else f"{job.method}-{job.epochs}-epochs"
