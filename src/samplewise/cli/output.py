"""What a command prints: progress and tables while it works, then a sentence or a JSON document."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplewise.bench import files
from samplewise.cli.console import terminal

__all__ = ["Output"]


@dataclass(frozen=True)
class Output:
    """How much a command prints.

    - As it is, progress, tables and the last sentence are on stdout.
    - `quiet`: only the last sentence. Errors are on stderr, as always.
    - `as_json`: only one document on stdout. Progress and tables are on stderr, and with `quiet` nowhere.
    """

    quiet: bool = False
    as_json: bool = False

    @contextmanager
    def working(self) -> Iterator[None]:
        """Send what is printed inside, also by the user's own model, where it belongs."""
        if self.quiet:
            with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
                yield
        elif self.as_json:
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield

    def end(self, sentence: str, document: Callable[[], Mapping[str, Any]]) -> None:
        """Print the last sentence, or the document.

        Args:
            sentence: what the command found, or what it wrote.
            document: makes the content of the document. The sentence is added to it.
        """
        if self.as_json:
            print(json.dumps(files.plain({**document(), "sentence": sentence}), indent=1))
        elif sentence:
            terminal().print(sentence, style="bold", soft_wrap=True, markup=False)
