"""Experimental protocols: label noise, image corruption, class imbalance, training lengths, transfer."""

from samplewise.bench.protocols.corruption import CORRUPTIONS, SMALLEST, CorruptedImages, corrupt_images
from samplewise.bench.protocols.noise import NOISES, NoisyLabels, flip_label_noise, uniform_label_noise
from samplewise.bench.protocols.shares import IMBALANCED, downsampled, imbalanced
from samplewise.bench.protocols.strategies import (
    STRATEGIES,
    Training,
    epochs_for_samples,
    equalised_epochs,
    planned_samples,
    samples_seen,
    scaled_milestones,
    strategy,
)
from samplewise.bench.protocols.transfer import transfer

__all__ = [
    "CORRUPTIONS",
    "IMBALANCED",
    "NOISES",
    "SMALLEST",
    "STRATEGIES",
    "CorruptedImages",
    "NoisyLabels",
    "Training",
    "corrupt_images",
    "downsampled",
    "epochs_for_samples",
    "equalised_epochs",
    "flip_label_noise",
    "imbalanced",
    "planned_samples",
    "samples_seen",
    "scaled_milestones",
    "strategy",
    "transfer",
    "uniform_label_noise",
]
