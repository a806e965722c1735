"""`Encoder`: a text encoder of Hugging Face on disk: its tokenizer, and models with a fresh head."""

import hashlib
import importlib.util
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch

from samplewise.bench.text.fits import PREFIX
from samplewise.checks import require

__all__ = ["Encoder", "find", "quiet", "write_folder"]

_FILES = ("*.json", "*.safetensors", "*.model", "*.txt")
_HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Encoder:
    """An encoder in a folder.

    Args:
        name: as in `--model`, beginning with `hf:`.
        folder: with its configuration, weights and tokenizer.
        max_length: the most tokens of a sample; longer ones are cut.
    """

    name: str
    folder: Path
    max_length: int

    def __getstate__(self) -> dict[str, Any]:
        # Every process reads the weights itself: that is faster than sending them.
        return {key: value for key, value in vars(self).items() if key not in ("base", "tokenizer")}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer.

        Raises:
            ValueError: if the folder has none, it cannot pad, or it takes fewer tokens than `max_length`.
        """
        transformers = require("transformers", "transformers")
        has = [
            path for path in self.folder.iterdir() if re.match(r"tokenizer|vocab|spiece|sentencep", path.name)
        ]
        if not has:
            raise ValueError(
                f"--model {self.name} has no tokenizer: {self.folder} must hold a tokenizer.json."
            )
        with self._reading("tokenizer"):
            made = transformers.AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        if made.pad_token is None:
            raise ValueError(f"--model {self.name} cannot be used: its tokenizer has no padding token.")
        if self.max_length > made.model_max_length:
            raise ValueError(
                f"--max-length must be at most {made.model_max_length} for --model {self.name}, got "
                f"{self.max_length}."
            )
        return made

    @cached_property
    def base(self) -> torch.nn.Module:
        """The encoder without a head, as it is on disk, in float32."""
        transformers = require("transformers", "transformers")
        with self._reading("weights"):
            made: torch.nn.Module = transformers.AutoModel.from_pretrained(
                self.folder, local_files_only=True, dtype=torch.float32
            )
        return made

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the names and contents of its files, in hexadecimal digits. The folder has no effect."""
        found = hashlib.sha256()
        for path in sorted({path for pattern in _FILES for path in self.folder.glob(pattern)}):
            with path.open("rb") as file:
                found.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return found.hexdigest()

    def model(self, classes: int, seed: int) -> Any:
        """The encoder with a fresh head, whose weights depend on `seed` only. The global RNG is not changed.

        Args:
            classes: outputs of the head; 0 is a head with one output for a regression.
            seed: of the weights of the head.
        """
        transformers = require("transformers", "transformers")
        base: Any = self.base
        problem = "single_label_classification" if classes else "regression"
        config = type(base.config).from_dict(base.config.to_dict())
        config.num_labels, config.problem_type = classes or 1, problem
        if config.pad_token_id is None:
            config.pad_token_id = self.tokenizer.pad_token_id
        with torch.random.fork_rng(devices=[]), self._reading("configuration"):
            torch.default_generator.manual_seed(seed)
            made = transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)
            inside = getattr(made, made.base_model_prefix)
            lacks = inside.load_state_dict(base.state_dict(), strict=False).missing_keys
        if lacks:
            raise ValueError(
                f"--model {self.name} does not fit its classifier: it has no weights {lacks[0]}."
            )
        return made

    def tokens(self, texts: Any) -> list[dict[str, list[int]]]:
        """The token ids of texts (n, 1) or of pairs (n, 2), and what else the encoder takes, for each row."""
        columns = [texts[:, i].tolist() for i in range(texts.shape[1])]
        made = self.tokenizer(*columns, truncation=True, max_length=self.max_length)
        return [dict(zip(made, row, strict=True)) for row in zip(*made.values(), strict=True)]

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        """Errors of transformers as one line."""
        try:
            with quiet():
                yield
        except Exception as error:  # errors of transformers, of safetensors, and of the system
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ValueError(f"--model {self.name}: its {what} cannot be read: {reason}") from error


def find(model: str, max_length: int) -> Encoder:
    """The encoder of `--model hf:NAME`.

    `NAME` is a folder, else an installed package that holds one (it is not imported), else a name of the
    Hugging Face hub, which is downloaded once.

    Args:
        model: beginning with `hf:`.
        max_length: the most tokens of a sample.

    Raises:
        ValueError: if nothing of this name holds an encoder.
    """
    return _found(model, max_length)


@lru_cache(maxsize=2)
def _found(model: str, max_length: int) -> Encoder:
    require("transformers", "transformers")
    name = model.removeprefix(PREFIX)
    made = Encoder(model, Path(name), max_length)
    if not name:
        raise ValueError(f"--model {PREFIX} must be followed by the folder or the name of an encoder.")
    if made.folder.is_dir():
        if not (made.folder / "config.json").is_file():
            raise ValueError(f"--model {model} is no encoder: {name} has no config.json.")
        return made
    if (packaged := _packaged(name)) is not None:
        return replace(made, folder=packaged)
    wanted = (
        f"--model {model} must be a folder with an encoder, an installed package with one, or a name of the "
        "hub"
    )
    if not _HUB_NAME.fullmatch(name) or name.startswith("."):
        raise ValueError(f"{wanted}, but {name} does not exist.")
    hub = require("huggingface_hub", "transformers")
    try:
        with quiet():
            folder = hub.snapshot_download(name, allow_patterns=list(_FILES))
    except Exception as error:  # errors of the library and of the network
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"{wanted}. It is no folder and no package, and the hub says: {reason:.200}"
        ) from error
    return replace(made, folder=Path(folder))


def _packaged(name: str) -> Path | None:
    """The folder of an encoder in an installed package: the package's own, or one in it."""
    module = name.replace("-", "_")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    for place in (spec and spec.submodule_search_locations) or ():
        for path in (Path(place), *sorted(Path(place).iterdir())):
            if (path / "config.json").is_file():
                return path
    return None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings and the progress bars of transformers and of the hub."""
    logging = require("transformers.utils.logging", "transformers")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def write_folder(path: Path, model: Any, tokenizer: Any) -> None:
    """Write a model and its tokenizer into a folder that transformers reads, named as `path` without .pt."""
    folder, partial = path.with_suffix(""), path.with_suffix(".partial")
    for old in (folder, partial):
        shutil.rmtree(old, ignore_errors=True)
    with quiet():
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    partial.rename(folder)
