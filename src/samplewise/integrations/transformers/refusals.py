"""What of a Trainer's settings selection cannot follow, said by name before training begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Trainer

from samplewise.integrations.transformers.heads import CausalLM, Head, base_of, head_of
from samplewise.integrations.transformers.heads import Own as OwnLosses
from samplewise.integrations.transformers.sft import FusedLM, is_sft, refuse_sft
from samplewise.loop.scoring import Scoring, without_trace

__all__ = ["Held", "head_for", "refuse", "refuse_other_loss", "refuse_uneven"]

_WITHOUT = (
    "Give per_sample_loss=f with f(outputs, inputs) -> (b,), or sw.Outputs with a normalizer for weights of "
    "classes, or leave the Trainer's own loss."
)


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
    return None


def refuse_uneven(args: Any, drop_last: bool) -> None:
    """Raise where processes would get different numbers of batches from a loader that drops none."""
    if args.world_size > 1 and not args.accelerator_config.even_batches and not drop_last:
        raise ValueError(
            "selection does not go with this Trainer: even_batches=False gives processes different numbers "
            "of batches: set dataloader_drop_last=True, or drop_last=True in a loader of your own."
        )


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


class Held:
    """The model's own loss of each batch held against its samples' losses, as an extra term shows by.

    On a CPU a difference is an error at once. An accelerator keeps the first one, and `refuse` raises it
    where waiting costs nothing.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.name = type(base_of(model)).__name__
        self.pair: torch.Tensor | None = None

    def see(self, own: torch.Tensor, ours: torch.Tensor) -> None:
        """One batch: what the model says, and what the losses average to."""
        # A fresh model gives every class about the same loss, so weights of classes change the mean very
        # little. Models in half precision average in it.
        half = own.dtype in (torch.float16, torch.bfloat16)
        rtol, atol = (1e-2, 1e-3) if half else (1e-5, 1e-6)
        own, ours = own.detach().float(), ours.detach().float()
        close = torch.isclose(own, ours, rtol=rtol, atol=atol, equal_nan=True)
        pair = torch.where(close, 0, torch.stack([own, ours]))
        if self.pair is None or own.is_cpu:
            self.pair = pair
            self.refuse()
        else:
            self.pair = torch.where(self.pair[0] == self.pair[1], pair, self.pair)

    def refuse(self) -> None:
        """Raise for what was seen."""
        if self.pair is None:
            return
        own, ours = self.pair.tolist()
        if own != ours:
            raise ValueError(
                f"the loss of {self.name} on a batch is {own:.6g}, but its samples' losses average to "
                f"{ours:.6g}: it adds or weights something. {_WITHOUT}"
            )


def refuse_other_loss(trainer: Any, head: CausalLM, inputs: dict[str, Any], held: Held) -> None:
    """Raise where a language model's own loss is another than its sequences' losses make.

    Args:
        trainer: whose model it is.
        head: how the sequences' losses are had.
        inputs: a batch, with labels.
        held: raises.
    """
    with without_trace(trainer.model, Scoring()), trainer.compute_loss_context_manager():
        seen = head(trainer.model, inputs)
        raw = trainer.model(**inputs)
    if seen.tokens is None or not seen.tokens.sum():
        return
    ours = (seen.outputs.loss * seen.tokens).sum() / seen.tokens.sum()
    held.see(raw["loss"] if isinstance(raw, Mapping) else raw[0], ours)
