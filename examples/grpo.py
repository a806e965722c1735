"""TRL's GRPOTrainer on prompts that `sw.PromptSelector` plans: a tiny policy learns to answer with a letter.

python examples/grpo.py [thompson | mean | uniform]

TRL asks `_get_train_sampler` for the order of the prompts. The sampler here asks the selector, and the reward
function reports every group back. TRL reads `gradient_accumulation_steps` + 1 batches before it rolls out the
first of them. So `steps_per_generation` must be larger than `gradient_accumulation_steps`: then the rewards
of a step are known before the next one is planned. TRL has no place where more prompts can join a step, so
`replacements` is left out: groups without variance are counted, and later steps avoid their prompts.
"""

import sys
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.utils.data import Sampler
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, PrinterCallback, set_seed
from transformers.utils import logging

import samplewise as sw

with warnings.catch_warnings():  # TRL warns of what it will change
    warnings.simplefilter("ignore")
    from trl import GRPOConfig, GRPOTrainer

STEPS, PROMPTS, GROUP, UPDATES = 40, 8, 8, 2
LETTERS = "abcdefgh"


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each letter and sign."""
    words = {word: i for i, word in enumerate(["<pad>", "<eos>", "?", *LETTERS])}
    made = Tokenizer(models.WordLevel(words, unk_token="?"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<eos>", unk_token="?")


def prompts() -> Dataset:
    """Two letters each: answer with the first one. A third of the prompts wants what no token says."""
    pairs = [f"{one} {two}" for one in LETTERS for two in LETTERS]
    answers = ["none" if i % 3 == 0 else pair[0] for i, pair in enumerate(pairs)]
    return Dataset.from_dict({"prompt": pairs, "answer": answers, "id": list(range(len(pairs)))})


class Planned(Sampler[int]):
    """The rows that TRL rolls out: every prompt `group` times, and every batch `repeats` times."""

    def __init__(self, selector: sw.PromptSelector, repeats: int, group: int) -> None:
        self.selector, self.repeats, self.group = selector, repeats, group

    def __len__(self) -> int:
        return STEPS * self.repeats * self.selector.batch_size * self.group

    def __iter__(self) -> Iterator[int]:
        for step in range(STEPS):
            ids = self.selector.plan(step).repeat_interleave(self.group)
            yield from ids.repeat(self.repeats).tolist()


class SelectiveGRPO(GRPOTrainer):
    """A GRPOTrainer with a selector."""

    selector: sw.PromptSelector

    def _get_train_sampler(self, dataset: Dataset | None = None) -> Planned:
        repeats = self.num_iterations * self.args.steps_per_generation
        return Planned(self.selector, repeats, self.num_generations)


def main(draw: str = "thompson") -> None:
    """Train, and print the mean reward of the solvable prompts and the ledger."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(0)
    data, words = prompts(), tokenizer()
    selector = sw.PromptSelector(len(data), PROMPTS, draw=draw)
    solved: list[float] = []

    def reward(completions: list[str], answer: list[str], id: list[int], **rest: Any) -> list[float]:
        found = [float(said.strip() == right) for said, right in zip(completions, answer, strict=True)]
        selector.observe(torch.tensor(id[::GROUP]), torch.tensor(found).view(-1, GROUP))
        solved.append(sum(found) / max(1, sum(right != "none" for right in answer)))
        return found

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(words), max_position_embeddings=16, **sizes))
    with tempfile.TemporaryDirectory() as output, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = SelectiveGRPO(
            model=model,
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=output,
                max_steps=STEPS * UPDATES,
                per_device_train_batch_size=PROMPTS * GROUP // UPDATES,
                gradient_accumulation_steps=1,
                steps_per_generation=UPDATES,
                num_generations=GROUP,
                max_completion_length=1,
                learning_rate=1e-2,
                lr_scheduler_type="constant",
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                dataloader_pin_memory=False,
            ),
            train_dataset=data,
            processing_class=words,
        )
        trainer.selector = selector
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    first, last = sum(solved[:5]) / 5, sum(solved[-5:]) / 5
    print(f"{draw}: solvable prompts that were rolled out pass {first:.0%} at first, {last:.0%} at the end")
    print(selector.ledger)


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["thompson"], ["mean"], ["uniform"]):
        sys.exit("usage: python examples/grpo.py [thompson | mean | uniform]")
    main(*sys.argv[1:])
