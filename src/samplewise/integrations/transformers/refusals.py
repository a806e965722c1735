"""Checks before training: settings of a Trainer that do not work with selection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Trainer

from samplewise import packed
from samplewise.integrations.transformers.heads import CausalLM, Head, base_of, head_of
from samplewise.integrations.transformers.heads import Own as OwnLosses
from samplewise.integrations.transformers.packing import packs
from samplewise.integrations.transformers.sft import FusedLM, is_sft, refuse_sft
from samplewise.loop.scoring import Scoring, without_trace

__all__ = ["Held", "head_for", "refuse", "refuse_groups", "refuse_other_loss", "refuse_uneven"]

_WITHOUT = (
    "Set per_sample_loss=f, where f(outputs, inputs) returns losses (b,), or sw.Outputs with a normalizer "
    "for class weights. Or use the Trainer's own loss."
)


def refuse(trainer: Any) -> None:
    """Raise for the first setting that does not work with selection.

    Raises:
        ValueError: if a setting does not work. The error names it and says what to do.
        ImportError: if transformers is too old.
    """
    if not hasattr(Trainer, "set_initial_training_values") or not hasattr(Trainer, "loss_is_scaled_for_ga"):
        raise ImportError("samplewise needs transformers >= 5.19: pip install -U 'samplewise[transformers]'")
    for reason in filter(None, (_data(trainer), _loader(trainer.args), _devices(trainer))):
        raise ValueError(f"selection does not work with this Trainer: {reason}")


def _data(trainer: Any) -> str | None:
    dataset = trainer.train_dataset
    if dataset is None:
        return "it has no train_dataset. Pass one."
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        return (
            f"its train_dataset must be a map-style data set, but {type(dataset).__name__} is a stream "
            "without positions."
        )
    return None


def _loader(args: Any) -> str | None:
    if args.train_sampling_strategy != "random":
        return (
            f"train_sampling_strategy={args.train_sampling_strategy!r} sets its own order. Set it to "
            "'random'."
        )
    if args.auto_find_batch_size:
        return "auto_find_batch_size changes the batch size in training. Set per_device_train_batch_size."
    config = args.accelerator_config
    if config.split_batches:
        return "accelerator_config.split_batches changes the batch size of a process. Set it to False."
    if config.dispatch_batches:
        return "with accelerator_config.dispatch_batches only one process has a loader. Set it to False."
    return None


def refuse_uneven(args: Any, drop_last: bool) -> None:
    """Raise if processes would get different numbers of batches, or count too much with them."""
    if args.world_size > 1 and not args.accelerator_config.even_batches and not drop_last:
        way = "Set dataloader_drop_last=True, or drop_last=True in your own loader."
        if packs(args):
            way = "Set accelerator_config={'even_batches': True}: with packing=True nothing can be dropped."
        raise ValueError(
            "selection does not work with this Trainer: with even_batches=False, processes get different "
            f"numbers of batches. {way}"
        )
    if args.world_size > 1 and packs(args) and not args.average_tokens_across_devices:
        raise ValueError(
            "packing=True in several processes needs average_tokens_across_devices=True: in the last step of "
            "an epoch a process may have no batch of its own, and would count as much as one that has."
        )


def refuse_groups(args: Any, groups: Any) -> None:
    """Raise for groups with packed rows: TRL mixes the texts, and drops the other columns of the data."""
    if groups is not None and getattr(args, "packing", False):
        raise ValueError(
            "groups cannot be used with packing=True. SFTTrainer packs the texts in another order and drops "
            "the other columns, so the group of a packed text is not known. Set SFTConfig(packing=False, "
            "padding_free=True, max_length=None), which needs no padding either, and give the name of a "
            "column of the data set: groups='source'."
        )


def _devices(trainer: Any) -> str | None:
    args = trainer.args
    if args.n_gpu > 1:
        return "one process uses several GPUs (DataParallel). Start one process per GPU with torchrun."
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        return (
            "DeepSpeed and FSDP are not supported. Use DDP, or a loop of your own with Accelerate and FSDP2."
        )
    sizes = {"tp": trainer.get_tp_size(), "cp": trainer.get_cp_size(), "sp": trainer.get_sp_size()}
    for name, size in sizes.items():
        if size > 1:
            return f"{name}_size={size} gives several processes the same samples. Use data parallelism."
    if args.use_liger_kernel:
        return "use_liger_kernel=True computes no per-sample losses. Set it to False."
    return None


def head_for(trainer: Any, owner: type, per_sample_loss: Any) -> Head:
    """Return the head that computes per-sample losses of this Trainer's model.

    Args:
        trainer: the Trainer.
        owner: the class whose `compute_loss` the Trainer would call without selection.
        per_sample_loss: the user's function, or None.

    Raises:
        ValueError: if no per-sample losses are known whose mean is the Trainer's loss.
    """
    if per_sample_loss is not None:
        if trainer.label_smoother is not None:
            raise ValueError(
                "label_smoothing_factor has no effect on per_sample_loss. Smooth the labels there, and set "
                "it to 0."
            )
        return OwnLosses(per_sample_loss)
    if trainer.compute_loss_func is not None:
        raise ValueError(f"compute_loss_func returns one loss for the whole batch. {_WITHOUT}")
    if is_sft(owner):
        if reason := refuse_sft(trainer.args, trainer):
            raise ValueError(f"selection does not work with this SFTTrainer: {reason}")
        config: Any = base_of(trainer.model).config
        return FusedLM(config.get_text_config().vocab_size)
    if owner is not Trainer:
        raise ValueError(f"{owner.__name__}.compute_loss returns one loss for the whole batch. {_WITHOUT}")
    smoother = trainer.label_smoother
    head = head_of(trainer.model, 0.0 if smoother is None else smoother.epsilon)
    if head is None:
        name = type(base_of(trainer.model)).__name__
        raise ValueError(f"the per-sample loss of {name} is not known. {_WITHOUT}")
    return head


class Held:
    """Compares the model's own loss of each batch with the mean of its per-sample losses.

    They differ if the model adds a term or weights samples. On a CPU, a difference raises at once. On an
    accelerator, the first difference is stored, and `refuse` raises it later, when no wait is needed.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.name = type(base_of(model)).__name__
        self.pair: torch.Tensor | None = None

    def see(self, own: torch.Tensor, ours: torch.Tensor) -> None:
        """Compare the model's loss and the mean of the per-sample losses of one batch."""
        # The tolerance is small, because in a new model class weights change the mean only a little. Models
        # in half precision compute the mean in half precision, so their tolerance is larger.
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
        """Raise if a difference was found."""
        if self.pair is None:
            return
        own, ours = self.pair.tolist()
        if own != ours:
            raise ValueError(
                f"the loss of {self.name} on a batch must be the mean of its per-sample losses, "
                f"{ours:.6g}, but is {own:.6g}: the model adds a term or weights samples. {_WITHOUT}"
            )


def refuse_leaks(trainer: Any, head: Head, inputs: dict[str, Any], b: int) -> bool:
    """Raise if the model lets the sequences of a packed row see each other. Return True if not.

    Args:
        trainer: the Trainer with the model.
        head: computes the losses of the sequences.
        inputs: a batch whose b >= 2 sequences share a row.
        b: the number of sequences.
    """
    with without_trace(trainer.model, Scoring()), trainer.compute_loss_context_manager():
        inside = head(trainer.model, dict(inputs)).outputs.loss[-1]
        alone = head(trainer.model, packed.take(inputs, torch.tensor([b - 1]), b)).outputs.loss[0]
    exact = inside.is_cpu and trainer.model.dtype is torch.float32 and not trainer.args.bf16
    limit = 1e-5 if exact else 2e-2
    if not torch.isclose(inside.float(), alone.float(), rtol=limit, atol=limit):
        raise ValueError(
            "the sequences of a packed row must not see each other, but the last one of a batch has loss "
            f"{float(inside):.6g} in its row and {float(alone):.6g} alone. Set TrainingArguments(use_cache="
            "False), use an attention that reads position_ids (flash attention; sdpa without a mask), "
            "or pad."
        )
    return True


def refuse_other_loss(trainer: Any, head: CausalLM, inputs: dict[str, Any], held: Held) -> None:
    """Raise if a language model's own loss differs from the mean over the tokens of its sequences.

    Args:
        trainer: the Trainer with the model.
        head: computes the losses of the sequences.
        inputs: a batch, with labels.
        held: compares the two and raises.
    """
    with without_trace(trainer.model, Scoring()), trainer.compute_loss_context_manager():
        seen = head(trainer.model, inputs)
        raw = trainer.model(**inputs)
    if seen.tokens is None or not seen.tokens.sum():
        return
    ours = (seen.outputs.loss * seen.tokens).sum() / seen.tokens.sum()
    held.see(raw["loss"] if isinstance(raw, Mapping) else raw[0], ours)
