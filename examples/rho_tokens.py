"""Rho-1 on a made-up language: train on the tokens whose loss exceeds that of a reference the most.

A third of the tokens of the training rows are noise. The reference is trained on a few clean rows, its losses
are computed once and stored.

python examples/rho_tokens.py
"""

import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

import samplewise as sw

WORDS, LENGTH, EPOCHS, BATCH = 24, 16, 4, 16
Row = dict[str, torch.Tensor]


def rows(n: int, noise: float, seed: int) -> list[Row]:
    """Rows of a language: the next word follows from the last two. Some words are replaced by noise."""
    rng = torch.Generator().manual_seed(seed)
    ids = torch.randint(WORDS, (n, LENGTH), generator=rng)
    for place in range(2, LENGTH):
        ids[:, place] = (3 * ids[:, place - 1] + ids[:, place - 2] + 1) % WORDS
    replaced = torch.rand(n, LENGTH, generator=rng) < noise
    ids = torch.where(replaced, torch.randint(WORDS, (n, LENGTH), generator=rng), ids)
    return [{"input_ids": row, "labels": row} for row in ids]


def small(seed: int) -> LlamaForCausalLM:
    """A language model of one layer."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, max_position_embeddings=LENGTH, **sizes))


def train(
    policy: str | sw.Policy, data: list[Row], epochs: int, seed: int = 0
) -> tuple[LlamaForCausalLM, sw.Selector]:
    """The ordinary loop. It is the same for every method."""
    model = small(seed)
    forward = sw.language_model(model)
    selector = sw.Selector(policy, data, forward, model=model, epochs=epochs, batch_size=BATCH, seed=seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    loader = selector.loader()
    for _ in range(epochs):
        for batch in loader:
            loss = selector.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model, selector


def main() -> None:
    """Train on all tokens, on random ones and on those of Rho-1. Print losses and ledgers."""
    clean, noisy, test = rows(192, 0.0, 1), rows(384, 0.33, 2), rows(128, 0.0, 3)
    reference, _ = train("full", clean, epochs=12, seed=1)
    path = Path(tempfile.mkdtemp()) / "reference.parquet"
    sw.reference_losses(sw.language_model(reference), noisy, model=reference, out=path, batch_size=BATCH)
    policies = {
        "full": sw.recipes.full(),
        "token_random": sw.recipes.token_random(keep=0.5),
        "rho_tokens": sw.recipes.rho_tokens(path, keep=0.5),
    }
    together = torch.utils.data.default_collate(test)
    for name, policy in policies.items():
        model, selector = train(policy, noisy, EPOCHS)
        with torch.no_grad():
            loss = sw.language_model(model.eval())(together).loss.mean()
        print(f"{name}: loss {loss:.3f} on clean rows\n{selector.ledger}\n")


if __name__ == "__main__":
    main()
