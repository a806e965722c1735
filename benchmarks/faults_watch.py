"""What a training under test reports to its parent: one line per event. It stops at the event to be killed.

An event is a training step, a scoring forward, or an operation on a file of the checkpoint folder:
creating, half of its content written, renaming, removing. Runs with the same settings have the same
events in the same order. So the number of an event identifies a moment in every run.
"""

import io
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

STEP, SCORE, WRITE = "step", "score", "write"
_AUDITED = {"open": 0, "os.rename": 1, "os.mkdir": 0, "os.remove": 0, "os.rmdir": 0, "shutil.rmtree": 0}
"""File operations that Python announces, and the position of the path in their arguments."""
_SAVES_TENSORS = ("accelerate.utils.other", "transformers.modeling_utils")
"""Modules in which frameworks import `safetensors.torch.save_file` as `safe_save_file`."""
_FILES = "fsspec.implementations.local"


@dataclass
class Watch:
    """Counts and logs the events of this process. At event number `stop` it waits for the kill."""

    log: int
    folder: Path
    stop: int | None = None
    ready: int | None = None
    count: int = 0

    def event(self, kind: str, **told: Any) -> None:
        """Log an event. At the chosen one tell the parent and wait for its signal."""
        self.note(kind=kind, n=self.count, at=time.monotonic(), **told)
        if self.count == self.stop and self.ready is not None:
            os.write(self.ready, b"!")
            os.read(os.pipe()[0], 1)  # nothing is ever written here: the process waits for the kill
        self.count += 1

    def note(self, **told: Any) -> None:
        """Log something that is not an event. A line is one write, so a kill leaves complete lines."""
        os.write(self.log, (json.dumps(told) + "\n").encode())

    def trained(self, ids: torch.Tensor) -> None:
        """Called in the model's forward with the ids of the batch: a step with gradients, a score without."""
        kind = STEP if torch.is_grad_enabled() else SCORE
        self.event(kind, ids=ids.tolist())

    # ------------------------------------------------------------------------------- files

    def hook_files(self) -> None:
        """Make every later operation on a file of the checkpoint folder an event."""
        owner, folder = os.getpid(), str(self.folder)

        def audit(name: str, arguments: tuple[Any, ...]) -> None:
            if name not in _AUDITED or os.getpid() != owner:
                return
            path = arguments[_AUDITED[name]]
            if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(folder):
                return
            if name == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
                return
            self.event(WRITE, what=name, file=Path(path).name)

        sys.addaudithook(audit)
        self._halve_torch()
        for name in _SAVES_TENSORS:
            if name in sys.modules:
                sys.modules[name].safe_save_file = self._save_tensors
        if "safetensors.torch" in sys.modules:
            sys.modules["safetensors.torch"].save_file = self._save_tensors
        if _FILES in sys.modules:
            self._halve_writes(sys.modules[_FILES].LocalFileOpener)

    def _halve_torch(self) -> None:
        """`torch.save` into a file, in two halves."""
        plain = torch.save

        def halved(state: Any, target: Any, *arguments: Any, **more: Any) -> None:
            buffer = io.BytesIO()
            plain(state, buffer, *arguments, **more)
            if isinstance(target, io.BytesIO):
                target.write(buffer.getvalue())
            else:
                self._in_two(buffer.getvalue(), target)

        torch.save = halved

    def _halve_writes(self, opener: Any) -> None:
        """The file through which Lightning writes, in two halves."""

        def halved(opened: Any, content: bytes) -> int:
            self._in_two(content, opened.f)
            return len(content)

        opener.write = halved

    def _save_tensors(self, tensors: dict[str, torch.Tensor], filename: Any, metadata: Any = None) -> None:
        """What `safetensors.torch.save_file` does, in two halves."""
        self._in_two(sys.modules["safetensors.torch"].save(tensors, metadata), filename)

    def _in_two(self, content: bytes, target: Any) -> None:
        """Write the first half, make an event of it, write the second."""
        if isinstance(target, str | os.PathLike):
            with Path(target).open("wb") as file:
                self._in_two(content, file)
            return
        half = len(content) // 2
        target.write(content[:half])
        getattr(target, "file", target).flush()  # otherwise a small file would stay in a buffer
        self.event(WRITE, what="half of a file")
        target.write(content[half:])
