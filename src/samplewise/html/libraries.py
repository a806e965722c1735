"""The JavaScript that a report carries: Vega-Lite out of vl-convert, DataTables out of itables."""

import re
from functools import cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

from samplewise.checks import require

__all__ = ["charts_script", "licences", "table_script", "table_style"]

_EXTRA = "html"


@cache
def charts_script() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script. It sets `window.vegaEmbed`."""
    made = require("vl_convert", _EXTRA).javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return _inside_script(str(made))


@cache
def table_script() -> str:
    """DataTables with its extensions and jQuery, as an ES module."""
    return _inside_script(_of_itables("dt_bundle.js"))


@cache
def table_style() -> str:
    """The style sheet of DataTables."""
    return _of_itables("dt_bundle.css").replace("</", "<\\/")


@cache
def licences() -> str:
    """The licences of all libraries in a report, as text."""
    return resources.files("samplewise.html").joinpath("files", "licences.txt").read_text(encoding="utf-8")


def _of_itables(name: str) -> str:
    """A file of the package, without importing it."""
    found = find_spec("itables")  # to import it would import pandas
    if found is None or not found.submodule_search_locations:
        require("itables", _EXTRA)
        raise ImportError("itables has no folder, so its files cannot be read.")
    return Path(found.submodule_search_locations[0], "html", name).read_text(encoding="utf-8")


def _inside_script(code: str) -> str:
    """The same code, such that nothing in it ends or confuses a script element."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", code, flags=re.IGNORECASE)
