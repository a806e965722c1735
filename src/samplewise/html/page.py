"""The page: blocks in, one HTML file out. The template escapes every text; data travel as JSON."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any

from samplewise.checks import require
from samplewise.html import libraries
from samplewise.html.blocks import Chart, Rows, Section

__all__ = ["as_json", "page"]


def page(title: str, sections: Sequence[Section], left_out: Sequence[str] = ()) -> bytes:
    """The whole file, in UTF-8.

    The page holds a policy for the browser: only the scripts of this file may run, and nothing may be loaded.

    Args:
        title: of the page.
        sections: from top to bottom.
        left_out: sentences on what is not shown.

    Raises:
        ImportError: if jinja2, vl-convert-python or itables is missing.
    """
    drawn = [block for section in sections for block in section.blocks if isinstance(block, Chart | Rows)]
    anchors = {id(block): f"{type(block).__name__.lower()}-{i}" for i, block in enumerate(drawn)}
    charts = {anchors[id(block)]: block.spec for block in drawn if isinstance(block, Chart)}
    tables = {anchors[id(block)]: _table(block) for block in drawn if isinstance(block, Rows)}
    scripts = [libraries.charts_script(), _file("page.js")]
    text = _template().render(
        title=title,
        sections=sections,
        left_out=left_out,
        kind=lambda block: type(block).__name__,
        anchor=lambda block: anchors[id(block)],
        data=as_json({"charts": charts, "tables": tables}),
        policy=_policy(scripts),
        scripts=scripts,
        table_script=libraries.table_script(),
        styles=[libraries.table_style(), _file("page.css")],
        licences=libraries.licences(),
    )
    # A name out of a file system may hold bytes that are no text.
    return str(text).encode("utf-8", errors="backslashreplace")


def as_json(value: Any) -> str:
    r"""A value as JSON that may stand in a script element.

    A number that is not finite is null. Bytes of a file name that are no text are written as `\udcff`.

    >>> as_json(["</script>", float("nan")])
    '["\\u003c/script\\u003e", null]'
    """
    require("jinja2", "html")
    from jinja2.utils import htmlsafe_json_dumps

    return str(htmlsafe_json_dumps(_plain(value), dumps=json.dumps, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", errors="backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _table(block: Rows) -> dict[str, Any]:
    """What the script needs to make the table."""
    columns = [
        {"head": head, "numeric": numeric} for head, numeric in zip(block.heads, block.numeric, strict=True)
    ]
    return {"columns": columns, "data": [list(row) for row in block.data], "file": block.file}


def _policy(scripts: Sequence[str]) -> str:
    """What the browser may do with this page. The table's module is imported out of the page itself."""
    digests = (
        base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode() for script in scripts
    )
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; font-src data:; "
        f"style-src 'unsafe-inline'; script-src {allowed} blob:"
    )


@cache
def _template() -> Any:
    """The template of the page. Everything that is put into it is escaped, unless it says otherwise."""
    jinja2 = require("jinja2", "html")
    made = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    return made.from_string(_file("page.html"))


@cache
def _file(name: str) -> str:
    return resources.files("samplewise.html").joinpath("files", name).read_text(encoding="utf-8")
