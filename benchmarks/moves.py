"""Count the calls, files and moves between files that one `selector.loss(batch)` makes in the package.

    python benchmarks/moves.py

A move goes from a frame of one file to a frame of another, by a call or by a return. Frames outside
the package do not count, and neither do the first entry and the last exit. Every registered method takes
part. The counts are the same on every machine, and take two seconds.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

import samplewise as sw
from samplewise.testing.counting import with_target
from samplewise.testing.trace import build, by_tokens

PACKAGE = str(Path(sw.__file__).parent)
N, BATCH = 96, 16


def walked(method: str) -> tuple[int, int, int]:
    """Calls, files and moves of one step in the middle of the second epoch."""
    inputs = torch.randn(N, 4)
    inputs[:, 3] = torch.arange(N) / N  # the id of the sample, for losses by token
    data = torch.utils.data.TensorDataset(inputs, torch.randint(3, (N,)))
    policy = build(sw.recipes.get(method), N, keep=0.5, period=1)
    model = torch.nn.Linear(4, 3)

    def forward(batch: list[Tensor]) -> sw.Outputs:
        logits = model(batch[0])
        losses = torch.nn.functional.cross_entropy(logits, batch[1], reduction="none")
        head = model.weight, model.bias
        outputs = sw.Outputs(losses, logits, batch[1], features=batch[0], head=head)
        chooses_tokens = getattr(policy, "token_choice", None) is not None
        return by_tokens(outputs, (N * batch[0][:, 3]).round().long()) if chooses_tokens else outputs

    if getattr(policy, "proxy", False):
        forward.proxy = forward  # type: ignore[attr-defined] # a narrow view of the model takes the same path
    scoring = with_target(policy, None, data)
    selector = sw.Selector(policy, data, forward, model=model, epochs=10, batch_size=BATCH, scoring=scoring)
    loader = selector.loader()
    for epoch in range(2):
        for step, batch in enumerate(loader):
            if (epoch, step) == (1, 2):
                return counted(lambda batch=batch: selector.loss(batch))
            selector.loss(batch)
    raise RuntimeError(f"{method} planned fewer than 3 batches")


def counted(call: Callable[[], Any]) -> tuple[int, int, int]:
    """Calls into the package, the files of these calls, and moves between files."""
    stack, files, calls, moves = [], set(), 0, 0

    def watch(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls, moves
        path = frame.f_code.co_filename
        if event not in ("call", "return") or not path.startswith(PACKAGE):
            return
        if event == "call":
            calls += 1
            files.add(path)
            moves += bool(stack) and stack[-1] != path
            stack.append(path)
        else:
            stack.pop()
            moves += bool(stack) and stack[-1] != path

    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls, len(files), moves


if __name__ == "__main__":
    print(f"{'method':<20}{'calls':>8}{'files':>8}{'moves':>8}")
    for method in sorted(sw.recipes.all()):
        print(f"{method:<20}" + "".join(f"{number:>8}" for number in walked(method)))
