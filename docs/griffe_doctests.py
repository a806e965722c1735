"""An extension of griffe for the API pages: sessions in docstrings become blocks of code."""

import re
from typing import Any

import griffe

SESSION = re.compile(r"^>>> .*?(?=^\s*$|\Z)", re.DOTALL | re.MULTILINE)


class Sessions(griffe.Extension):
    """Fences what begins with `>>>`: Markdown would read it as a quotation."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a module, class, function or attribute."""
        if obj.docstring is not None and "```" not in obj.docstring.value:
            fenced = SESSION.sub(
                lambda session: f"\n```pycon\n{session[0].rstrip()}\n```\n", obj.docstring.value
            )
            obj.docstring.value = fenced
