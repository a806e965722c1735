"""A Hugging Face data set of scikit-learn's digits: KAKURENBO chooses its rows, and no column is added.

python examples/datasets_digits.py [method]
"""

import sys

import torch
from datasets import Dataset
from sklearn.datasets import load_digits

import samplewise as sw

EPOCHS, BATCH = 20, 64


def main(method: str) -> None:
    """Train, and print the accuracy and the ledger."""
    torch.manual_seed(0)
    images, labels = load_digits(return_X_y=True)
    digits = Dataset.from_dict({"pixels": images / 16, "label": labels}).with_format("torch")
    split = digits.train_test_split(397, seed=0)
    train_set, test_set = split["train"], split["test"]
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def forward(batch: dict[str, torch.Tensor]) -> sw.Outputs:
        logits = model(batch["pixels"])
        loss = torch.nn.functional.cross_entropy(logits, batch["label"], reduction="none")
        return sw.Outputs(loss, logits, batch["label"])

    selector = sw.Selector(method, train_set, forward, model=model, epochs=EPOCHS, batch_size=BATCH)
    loader = selector.loader()
    for _ in range(selector.epoch, EPOCHS):
        for batch in loader:
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    test = test_set[:]
    accuracy = (model(test["pixels"]).argmax(1) == test["label"]).float().mean().item()
    print(f"{method}: test accuracy {accuracy:.1%}")
    print(selector.ledger)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "kakurenbo")
