"""`Flags`: sets the training flags of a model for a while, and restores them.

`nn.Module.train()` writes every flag through `nn.Module.__setattr__`, which takes most of its time. Where no
class overrides what `train()` does, the flags are written directly. The modules are found anew each time, so
added, removed and swapped modules need no care.
"""

from typing import Any

from torch import nn

__all__ = ["Flags", "modules_of"]


def modules_of(model: nn.Module) -> list[nn.Module]:
    """The model and every module in it, each once."""
    found: list[nn.Module | None] = [model]
    read: set[int] = set()
    for module in found:  # grows while it is read
        if module is not None and (children := module._modules) and id(module) not in read:
            read.add(id(module))
            found.extend(children.values())
    each = dict.fromkeys(found)
    each.pop(None, None)
    return list(each)  # type: ignore[arg-type]  # None is gone


class Flags:
    """The training flags of all modules of a model, as they are now.

    Attributes:
        modules: the model first.
        kinds: their classes.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = modules_of(model)
        self.kinds: set[type] = set(map(type, self.modules))
        self._entries = list(map(vars, self.modules))
        self._flags = [module.training for module in self.modules]
        # An instance may have a `train` of its own too: code that freezes a layer assigns one.
        own = True in ["train" in entries for entries in self._entries]
        self._plain = not own and all(map(_plain, self.kinds))

    def set(self, training: bool) -> None:
        """Set all flags, as `model.train(training)` does."""
        if not self._plain:
            _train(self.modules[0], training)
            return
        for entries in self._entries:
            entries["training"] = training

    def restore(self) -> None:
        """Set every flag to what it was. Frozen batch norms and the like differ from the whole model."""
        if self._plain:
            for entries, was in zip(self._entries, self._flags, strict=True):
                entries["training"] = was
            return
        model, flag = self.modules[0], self._flags[0]
        if model.training != flag:
            _train(model, flag)
        for module, was in zip(self.modules, self._flags, strict=True):
            if module.training != was:
                module.training = was


def _plain(kind: type[Any]) -> bool:
    """Whether `train()` of this class does no more than to write the flag of each module."""
    setting: Any = kind.__setattr__
    own = setting is not nn.Module.__setattr__ or hasattr(kind, "training")
    return not own and kind.train is nn.Module.train and kind.children is nn.Module.children


def _train(module: nn.Module, training: bool) -> None:
    """`module.train(training)`, with the flags of plain modules written directly."""
    if not _plain(type(module)) or "train" in vars(module):
        module.train(training)
        return
    vars(module)["training"] = training
    for child in module.children():
        _train(child, training)
