"""Every option of every command is in docs/cli.md, and the page names no option that does not exist."""

import re
from pathlib import Path

import pytest

from samplewise.cli.commands import COMMANDS as TOP
from samplewise.cli.commands import loaded

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()
SAME = {"score": "train"}
"""The section of `samplewise score` says that its options for data and training are those of `train`."""


def commands(found, path=()):
    """Every command by its words."""
    for name, command in found.items():
        inner = (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command.commands, inner)
        else:
            yield " ".join(inner), command


COMMANDS = dict(commands({name: loaded(name) for name in TOP}))


def options(command):
    """The long options."""
    words = [word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)]
    return {word for word in words if word.startswith("--")} - {"--help"}


def section(name):
    """The part of the page under the heading of a command."""
    found = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    return "".join(part for part in found if part.startswith(f"samplewise {name}\n"))


@pytest.mark.parametrize("name", TOP)
def test_the_list_of_commands_says_what_their_own_help_says(name):
    assert loaded(name).help.partition("\n")[0] == TOP[name][1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_on_the_page(name):
    documented = section(name) + section(SAME.get(name, name))
    assert documented, f"docs/cli.md has no section on samplewise {name}"
    missing = {word for word in options(COMMANDS[name]) if not re.search(rf"`{word}\b(?!-)", documented)}
    assert not missing


def test_the_page_names_only_options_that_exist():
    known = {word for command in COMMANDS.values() for word in options(command)}
    known |= {"--install-completion", "--show-completion", "--version"}
    assert not {word for word in re.findall(r"--[a-z][a-z-]*", PAGE) if word not in known}
