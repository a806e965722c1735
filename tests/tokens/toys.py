"""A tiny language model, and rows of tokens of different lengths."""

import torch
from torch import nn

from samplewise.rng import generator

WORDS, LONGEST = 13, 9


class Rows(torch.utils.data.Dataset):
    """Rows of 2 to LONGEST tokens, padded with label -100; the first label of some rows is -100 too."""

    def __init__(self, n=20, seed=0):
        rng = generator(seed, "rows")
        self.rows = [torch.randint(WORDS, (2 + i % (LONGEST - 1),), generator=rng) for i in range(n)]

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row, t = self.rows[i], len(self.rows[i])
        ids = torch.zeros(LONGEST, dtype=torch.int64)
        labels = torch.full((LONGEST,), -100)
        ids[:t], labels[:t] = row, row
        if i % 3 == 0 and t > 3:
            labels[1] = -100
        return {"input_ids": ids, "labels": labels}


class Tiny(nn.Module):
    """Predicts the next token from the last one and the place."""

    def __init__(self, seed=0, width=6):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.word, self.place = nn.Embedding(WORDS, width), nn.Embedding(LONGEST, width)
            self.mix, self.out = nn.Linear(width, width), nn.Linear(width, WORDS)
        self.rows = {True: 0, False: 0}

    def forward(self, input_ids):
        self.rows[torch.is_grad_enabled()] += len(input_ids)
        seen = self.word(input_ids) + self.place(torch.arange(input_ids.shape[1]))
        return self.out(torch.tanh(self.mix(seen)))

    def flops(self, rows):
        """Of a forward, counted by hand."""
        width = self.mix.in_features
        return 2 * rows * LONGEST * (width * width + width * WORDS)
