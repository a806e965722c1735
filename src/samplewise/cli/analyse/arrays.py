"""Reading an array of numbers that a user gives as a file."""

from pathlib import Path

import numpy as np

from samplewise.checks import nearest

__all__ = ["read_array"]


def read_array(path: Path, what: str, name: str) -> np.ndarray:
    """The array of a .npy file, or the one called `name` of a .npz file; its only one may have any name.

    Args:
        path: of the file.
        what: the option, for errors.
        name: of the array in a .npz file.

    Raises:
        ValueError: if the file cannot be read, or has no such array of numbers.
    """
    try:
        found = np.load(path, allow_pickle=False)
        if isinstance(found, np.lib.npyio.NpzFile):
            with found:
                names = found.files
                if name not in names and len(names) != 1:
                    raise ValueError(
                        f"{what} {path} must have an array {name!r}, got {', '.join(names) or 'none'}."
                        f"{nearest(name, names)}"
                    )
                array: np.ndarray = found[name if name in names else names[0]]
        else:
            array = np.asarray(found)
    except FileNotFoundError:
        raise FileNotFoundError(f"{what}: no such file: {path}") from None
    except (OSError, EOFError, ValueError) as error:
        if str(error).startswith(what):
            raise
        raise ValueError(f"{what} {path} must be a .npy or .npz file of numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} {path} must hold numbers, got {array.dtype}.")
    return array
