"""The page on the architecture, made of the code: the rooms, what travels between them, one real step.

`generate.py` writes what this file makes: `architecture.md` and its picture.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import drawing
import rooms
import torch
from torch import Tensor

import samplewise as sw
from samplewise.coresets.table import ScoreTable
from samplewise.cost.ledger import Ledger
from samplewise.pickers import Picked, Pool

METHOD, N, BATCH = "evolved_sampling", 64, 16
TRAVELS = (
    ("`recipes`", "`engine`", sw.Policy),
    ("the loader of `loop`", "the user, and back to the step of `loop`", sw.Batch),
    ("the user's forward", "`loop`, `engine`", sw.Outputs),
    ("`engine`", "`pickers`", Pool),
    ("`pickers`", "`engine`", Picked),
    ("`engine`, `coresets`", "`loop`, the user", sw.Subset),
    ("`engine`", "`coresets`, the user", ScoreTable),
    ("`loop`", "the user", Ledger),
)
"""Who hands it over, who takes it, and what it is."""


PAGE = """\
# Architecture

{note}

After reading this page you know the rooms of the code, what travels between them, and the calls of one step.

The code of samplewise is in rooms. A room is a folder of `src/samplewise`, or a file at its top. The
rooms stand on floors. **A room imports rooms of lower floors only.** This holds for every import: at the
top of a file, inside a function, and for types only. A test reads all imports and compares them with the
floors that [rooms.py](rooms.py) declares. To add a room, give it a floor there.

![The rooms on their floors; an arrow goes from a room to one that it imports](images/architecture.svg)

An arrow goes from a room to a room that it imports. The picture leaves out an arrow where other arrows
already lead the same way. The table has all of them.

## The rooms

{rooms}

The lowest floors know nothing of training. `signals`, `trackers`, `pickers` and `schedules` are the parts
of a method. A `policy` joins parts into one method, and `recipes` holds the published ones. `engine` runs
one policy over n samples; it has no model and no loader. `loop` adds the model, the loader, the epochs and
the step. `selector` holds the object that users call: its methods delegate to the rooms below.

## What travels between rooms

Parts exchange ids and values only. An id is the position of a sample in the full data set, as int64. It is
never a position in a batch.

{travels}

The words are explained in the [glossary](glossary.md).

## One call of `selector.loss`

This is a real call: one step of `{method}` with a batch of {batch} samples, in an epoch that selects. The
script that writes this page made the call and noted every call from one room into another. `user` is the
forward that the user wrote: it runs twice, first to score the batch and then on the chosen rows.

A line shows the room, the function, what it takes, and after the arrow what it returns. `float32({batch})`
is a tensor of {batch} numbers, and `float32()` is one number. A line further to the right is a call that
the line above makes. Calls inside a room, properties and torch are left out.

```text
{steps}
```

`benchmarks/moves.py` counts the same walk for other methods.
"""


def page(note: str) -> str:
    """The text of `architecture.md`; `note` says who wrote it."""
    tables = {"rooms": room_table(), "travels": travel_table(), "steps": step_listing()}
    return PAGE.format(note=note, method=METHOD, batch=BATCH, **tables)


def picture() -> str:
    """The rooms on their floors, as SVG."""
    said = {room: f"{room}: {holds(room)}" for room in rooms.rooms()}
    return drawing.draw(rooms.FLOORS, drawing.thinned(rooms.arrows()), said)


def holds(room: str) -> str:
    """What a room says of itself."""
    module = room if room == rooms.PACKAGE else f"{rooms.PACKAGE}.{room}"
    return rooms.summary(rooms.FILES[module])


def room_table() -> str:
    """A row for each room, from the top floor down."""
    lines = ["| floor | room | what it holds | imports |", "| --- | --- | --- | --- |"]
    pairs = rooms.arrows()
    for number, floor in reversed([*enumerate(rooms.FLOORS)]):
        for room in floor:
            path = "__init__.py" if room == rooms.PACKAGE else room
            path += "/" if (rooms.SOURCE / path).is_dir() else ".py" * (path == room)
            used = sorted(below for above, below in pairs if above == room)
            cells = str(number + 1), f"`{path}`", holds(room), ", ".join(used) or "-"
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def travel_table() -> str:
    """What the rooms hand one another."""
    lines = ["| from | to | what |", "| --- | --- | --- |"]
    lines += [f"| {giver} | {taker} | `{kind.__name__}`: {_first(kind)} |" for giver, taker, kind in TRAVELS]
    return "\n".join(lines)


def _first(kind: type) -> str:
    """The sentence that the docstring of a class begins with."""
    return (inspect.getdoc(kind) or "").partition("\n")[0]


@dataclass(eq=False)
class Call:
    """One call of a step that goes into another room."""

    depth: int
    room: str
    name: str
    takes: str
    gives: str = ""
    times: int = 1


def steps() -> list[Call]:
    """The calls between rooms of one `selector.loss(batch)`, in the middle of an epoch that selects."""
    torch.manual_seed(0)
    data = torch.utils.data.TensorDataset(torch.randn(N, 4), torch.randint(3, (N,)))
    model = torch.nn.Linear(4, 3)

    def forward(batch: list[Tensor]) -> Tensor:
        return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")

    selector = sw.Selector(METHOD, data, forward, model=model, epochs=4, batch_size=BATCH)
    loader = selector.loader()
    for epoch in range(2):
        for step, batch in enumerate(loader):
            if (epoch, step) == (1, 2):
                return watched(lambda batch=batch: selector.loss(batch))
            selector.loss(batch)
    raise RuntimeError(f"{METHOD} planned fewer than 3 batches")


@dataclass
class Watch:
    """Notes the calls into the package that go from one room into another."""

    calls: list[Call] = field(default_factory=list)
    inside: list[tuple[FrameType, str, Call | None, int]] = field(default_factory=list)
    seen: list[FrameType] = field(default_factory=list)

    def __call__(self, frame: FrameType, event: str, value: Any) -> None:
        """As `sys.setprofile` wants it."""
        code = frame.f_code
        own = code.co_filename == __file__ and code.co_name == "forward"
        if event not in ("call", "return") or not (own or code.co_filename.startswith(str(rooms.SOURCE))):
            return
        if event == "return":
            if self.inside and self.inside[-1][0] is frame:
                _, _, call, _ = self.inside.pop()
                if call is not None and not call.gives:
                    call.gives = kind_of(value)
            return
        room = "user" if own else _room(code.co_filename)
        before, depth = (self.inside[-1][1], self.inside[-1][3]) if self.inside else ("", 0)
        call = None
        if room != before and frame not in self.seen and (own or not _small(frame)):
            name = code.co_name if own else code.co_qualname
            call = Call(depth, room, name, _arguments(frame))
            self.calls.append(call)
        self.seen.append(frame)  # a generator is called again for each of its items
        self.inside.append((frame, room, call, depth + (call is not None)))


def watched(call: Callable[[], Any]) -> list[Call]:
    """The calls between rooms that `call` makes; equal neighbours are one, with a count."""
    watch = Watch()
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
    found: list[Call] = []
    for one in watch.calls:
        if found and (found[-1].depth, found[-1].name) == (one.depth, one.name):
            found[-1].times += 1
        else:
            found.append(one)
    return found


def _room(path: str) -> str:
    return Path(path).relative_to(rooms.SOURCE).parts[0].removesuffix(".py")


def _small(frame: FrameType) -> bool:
    """Whether it is a property, a comprehension or a function inside another."""
    name = frame.f_code.co_name
    owner = frame.f_locals.get("self")
    member = inspect.getattr_static(type(owner), name, None)
    return "<" in frame.f_code.co_qualname or isinstance(member, property)


def _arguments(frame: FrameType) -> str:
    code = frame.f_code
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    given = {name: frame.f_locals[name] for name in names if name not in ("self", "cls")}
    shown = [f"{name}: {kind_of(value)}" for name, value in given.items() if value is not None]
    return ", ".join(shown)


def kind_of(value: Any) -> str:
    """What a value is: tensors with their shape, all else by its class."""
    if isinstance(value, Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"{kind}({', '.join(map(str, value.shape))})"
    if type(value) in (tuple, list):
        return f"({', '.join(kind_of(item) for item in value)})"
    return type(value).__name__.replace("NoneType", "None")


def step_listing() -> str:
    """The calls as an indented list."""
    lines = []
    for call in steps():
        times = f" ({call.times} times)" * (call.times > 1)
        gives = f" -> {call.gives}" * (call.gives not in ("", "None"))
        lines.append(f"{'  ' * call.depth}{call.room}: {call.name}({call.takes}){gives}{times}")
    return "\n".join(lines)
