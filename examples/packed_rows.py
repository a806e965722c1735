"""Selection inside packed rows, in a plain loop: several sequences share a row without padding.

Half of the sequences are copies of one. The method keeps the quarter of each batch with the highest losses,
and packs it again.

python examples/packed_rows.py
"""

import torch
from transformers import DataCollatorWithFlattening, LlamaConfig, LlamaForCausalLM

import samplewise as sw

WORDS, EPOCHS, BATCH = 24, 4, 16
Sequence = dict[str, list[int]]


def sequences(n: int, seed: int) -> list[Sequence]:
    """Sequences of 4 to 16 words: the next word follows from the last one and the first one."""
    rng = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(n):
        length = int(torch.randint(4, 17, (1,), generator=rng))
        words = torch.randint(WORDS, (2,), generator=rng).tolist()
        while len(words) < length:
            words.append((2 * words[-1] + words[0] + 1) % WORDS)
        made.append({"input_ids": words})
    return made


def small() -> LlamaForCausalLM:
    """A language model of one layer."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, use_cache=False, **sizes))


def train(method: str, data: list[Sequence], test: list[Sequence]) -> tuple[float, sw.Selector]:
    """Train on packed rows. Return the loss of each token of the test sequences, and the selector."""
    model, collate = small(), DataCollatorWithFlattening()

    def losses(batch: dict[str, torch.Tensor]) -> sw.packed.Losses:
        found = model(batch["input_ids"], position_ids=batch["position_ids"])
        return sw.packed.losses(found.logits, batch)

    def forward(batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return losses(batch).mean

    selector = sw.Selector(method, data, forward, model=model, epochs=EPOCHS, batch_size=BATCH, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = selector.loader(collate_fn=collate)
    for _ in range(EPOCHS):
        for batch in loader:
            kept = selector.narrow(batch)  # one row again, of the sequences that train
            found = losses(kept.data)
            loss = found.over_tokens(selector.weigh(found.mean))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        found = losses(collate(test))
    return float(found.over_tokens()), selector


def main() -> None:
    """Train on all sequences, and on a quarter of each batch. Print losses and ledgers."""
    test, some = sequences(64, 1), sequences(128, 2)
    data = some + [some[0]] * len(some)
    for method in ("full", "ordered_sgd"):
        loss, selector = train(method, data, test)
        print(f"{method}: loss {loss:.3f} a token\n{selector.ledger}\n")


if __name__ == "__main__":
    main()
