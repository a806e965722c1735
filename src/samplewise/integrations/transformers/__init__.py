"""Hugging Face Trainer 5.x and TRL's SFTTrainer: the selector chooses what they train on."""

from samplewise.checks import require

require("transformers", "transformers")
require("accelerate", "transformers")
require("safetensors", "transformers")

from samplewise.integrations.transformers.checkpoints import (  # noqa: E402 - after the clear errors
    latest_complete_checkpoint,
)
from samplewise.integrations.transformers.mixin import SelectiveTrainer, make_selective  # noqa: E402

__all__ = ["SelectiveTrainer", "latest_complete_checkpoint", "make_selective"]
