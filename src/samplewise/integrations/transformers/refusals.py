"""What of a Trainer's settings selection cannot follow, said by name before training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Trainer

from samplewise.integrations.transformers.heads import CausalLM, Classes, Head, base_of, head_of
from samplewise.integrations.transformers.heads import Own as OwnLosses
from samplewise.integrations.transformers.sft import FusedLM, is_sft, refuse_sft
from samplewise.scoring import Scoring, without_trace

__all__ = ["head_for", "refuse", "refuse_other_loss"]

_WITHOUT = "Give per_sample_loss=f with f(outputs, inputs) -> (b,), or leave the Trainer's own loss."


def refuse(trainer: Any) -> None:
    """Raise for the first setting under which choices would be lost or wrong.

    Raises:
        ValueError: naming the setting and the way out.
        ImportError: for a version of transformers without the methods that this rests on.
    """
    if not hasattr(Trainer, "set_initial_training_values") or not hasattr(Trainer, "loss_is_scaled_for_ga"):
        raise ImportError("samplewise needs transformers >= 5.19: pip install -U 'samplewise[transformers]'")
    for reason in filter(None, (_data(trainer), _loader(trainer.args), _devices(trainer))):
        raise ValueError(f"selection does not go with this Trainer: {reason}")


def _data(trainer: Any) -> str | None:
    dataset = trainer.train_dataset
    if dataset is None:
        return "it has no train_dataset."
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return (
            f"its train_dataset is a stream ({type(dataset).__name__}), whose samples have no number: pass a "
            "map-style data set."
        )
    return None


def _loader(args: Any) -> str | None:
    if args.train_sampling_strategy != "random":
        return (
            f"train_sampling_strategy={args.train_sampling_strategy!r} has its own order: set it to 'random'."
        )
    if args.auto_find_batch_size:
        return "auto_find_batch_size changes the batch size under way: set per_device_train_batch_size."
    config = args.accelerator_config
    if config.split_batches:
        return "accelerator_config.split_batches changes what a batch is: set it to False."
    if config.dispatch_batches:
        return (
            "accelerator_config.dispatch_batches takes the loader from the other processes: set it to False."
        )
    if not config.even_batches and args.world_size > 1 and not args.dataloader_drop_last:
        return (
            "even_batches=False gives processes different numbers of batches: set dataloader_drop_last=True."
        )
    return None


def _devices(trainer: Any) -> str | None:
    args = trainer.args
    if args.n_gpu > 1:
        return "one process drives several GPUs (DataParallel): launch one process a GPU with torchrun."
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return "DeepSpeed and FSDP are not supported: use DDP, or the plain loop with fully_shard."
    sizes = {"tp": trainer.get_tp_size(), "cp": trainer.get_cp_size(), "sp": trainer.get_sp_size()}
    for name, size in sizes.items():
        if size > 1:
            return f"{name}_size={size} gives several processes the same samples: use data parallelism."
    if args.use_liger_kernel:
        return "use_liger_kernel=True computes the loss without the samples' own: set it to False."
    return None


def head_for(trainer: Any, owner: type, per_sample_loss: Any) -> Head:
    """How the loss of each row is had of this Trainer's model.

    Args:
        trainer: whose `model` and arguments say it.
        owner: the class whose `compute_loss` the Trainer would call without selection.
        per_sample_loss: the user's function, or None.

    Raises:
        ValueError: where no per-sample losses are known that add up to the Trainer's loss.
    """
    if per_sample_loss is not None:
        if trainer.label_smoother is not None:
            raise ValueError(
                "label_smoothing_factor does not reach per_sample_loss: smooth there, and set it to 0."
            )
        return OwnLosses(per_sample_loss)
    if trainer.compute_loss_func is not None:
        raise ValueError(f"compute_loss_func gives one loss for the whole batch. {_WITHOUT}")
    if is_sft(owner):
        if reason := refuse_sft(trainer.args, trainer):
            raise ValueError(f"selection does not go with this SFTTrainer: {reason}")
        return FusedLM()
    if owner is not Trainer:
        raise ValueError(f"{owner.__name__}.compute_loss gives one loss for the whole batch. {_WITHOUT}")
    smoother = trainer.label_smoother
    head = head_of(trainer.model, 0.0 if smoother is None else smoother.epsilon)
    if head is None:
        name = type(base_of(trainer.model)).__name__
        raise ValueError(f"the loss of {name} for each sample is not known. {_WITHOUT}")
    return head


def refuse_other_loss(trainer: Any, head: Head, inputs: dict[str, Any]) -> None:
    """Raise where a model's own loss is another than its samples' losses make, as with an extra term.

    Args:
        trainer: whose model it is.
        head: how the samples' losses are had.
        inputs: a batch, with labels.
    """
    if not isinstance(head, Classes | CausalLM) or trainer.label_smoother is not None:
        return  # the user's or TRL's loss, or the Trainer's own, which the model has no part in
    with without_trace(trainer.model, Scoring()), trainer.compute_loss_context_manager():
        seen = head(trainer.model, inputs)
        raw = trainer.model(**inputs)
    own = raw["loss"] if isinstance(raw, Mapping) else raw[0]
    raw_dtype, own = own.dtype, own.float()
    losses = seen.outputs.loss
    rows = torch.ones_like(losses) if seen.tokens is None else seen.tokens
    ours = (losses * rows).sum() / rows.sum().clamp(min=1)
    # A fresh model gives every class about the same loss, so weights of classes change the mean very little.
    # Models in half precision average in it.
    half = raw_dtype in (torch.float16, torch.bfloat16)
    if rows.sum() and not torch.isclose(own, ours, rtol=1e-2 if half else 1e-5, atol=1e-3 if half else 1e-6):
        name = type(base_of(trainer.model)).__name__
        raise ValueError(
            f"the loss of {name} on a batch is {own:.6g}, but its samples' losses average to {ours:.6g}: it "
            f"adds or weights something. {_WITHOUT}"
        )
