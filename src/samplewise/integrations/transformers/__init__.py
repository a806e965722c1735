"""Hugging Face Trainer 5.x and TRL's SFTTrainer, with samples chosen by a selector."""

from samplewise.checks import require

require("transformers", "transformers")
require("accelerate", "transformers")
require("safetensors", "transformers")

from samplewise.integrations.transformers.advice import advise  # noqa: E402 - require must raise first
from samplewise.integrations.transformers.checkpoints import (  # noqa: E402
    latest_complete_checkpoint,
)
from samplewise.integrations.transformers.mixin import SelectiveTrainer, make_selective  # noqa: E402

__all__ = ["SelectiveTrainer", "advise", "latest_complete_checkpoint", "make_selective"]
