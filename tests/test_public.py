"""What is public exists and is explained; importing it is light; imports point downward."""

import ast
import importlib
import inspect
import os
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import samplewise as sw
from docs import rooms

SOURCE = Path(sw.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
HEAVY = {
    "accelerate", "cleanlab", "datasets", "lightning", "matplotlib", "pandas", "PIL", "pyarrow",
    "itables", "pytorch_lightning", "rich", "scipy", "sklearn", "transformers", "typer", "vl_convert",
}  # fmt: skip
UPSTAIRS = {"cli", "bench", "html", "report", "integrations", "testing", "theory", "analysis"}


def modules():
    """Every module whose imports are installed with the core."""
    for found in pkgutil.walk_packages([str(SOURCE)], "samplewise."):
        if not found.name.endswith("__main__"):
            yield found.name


def name_of(path):
    return ".".join(("samplewise", *path.relative_to(SOURCE).with_suffix("").parts))


@pytest.mark.parametrize("name", ["samplewise", *modules()])
def test_every_public_name_exists_and_is_explained(name):
    module = importlib.import_module(name)
    assert module.__doc__, name
    public = getattr(module, "__all__", [])
    assert len(public) == len(set(public)), f"{name}.__all__ says a name twice"
    for word in public:
        thing = getattr(module, word)
        if inspect.isroutine(thing) or inspect.isclass(thing) or inspect.ismodule(thing):
            assert (inspect.getdoc(thing) or "").strip(), f"{name}.{word} has no docstring"


def test_public_methods_are_explained():
    for word in sw.__all__:
        thing = getattr(sw, word)
        if not inspect.isclass(thing):
            continue
        for name, member in vars(thing).items():
            if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert inspect.getdoc(getattr(thing, name)), f"{word}.{name} has no docstring"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_holds_in_at_most_400_lines(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 400


def test_every_room_has_a_floor_and_every_floor_only_rooms():
    declared = [room for floor in rooms.FLOORS for room in floor]
    assert len(declared) == len(set(declared))
    assert set(declared) == rooms.rooms()


def test_imports_point_to_lower_floors():
    """Those for types only count, and those inside functions."""
    upward = [
        said
        for (above, below), found in rooms.arrows().items()
        if rooms.floor_of(above) <= rooms.floor_of(below)
        for said in found
    ]
    assert upward == []


def test_imports_between_modules_form_no_circle():
    assert rooms.circles(rooms.own_imports()) == []


def test_a_circle_and_an_import_for_types_only_are_found(tmp_path):
    imported = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}
    assert rooms.circles(imported) == [{"b", "c"}]
    file = tmp_path / "file.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from samplewise.selector import Selector\n"
        "def late():\n    from samplewise import loop\n    import samplewise.cli.app\n"
    )
    found = ["typing", "samplewise.cli.app", "samplewise.selector", "samplewise.loop"]
    assert sorted(rooms.imports(file)) == sorted(found)


def test_only_one_file_speaks_to_other_processes():
    users = [path.name for path in FILES if any("torch.distributed" in name for name in rooms.imports(path))]
    assert users == ["collectives.py"]


def imported():
    """What the front door loads in a fresh process, and its processor seconds beside torch's.

    The garbage collector does not walk the objects of torch again: that takes a quarter of the time.
    """
    code = (
        "import torch, gc, sys, time; gc.freeze();"
        "begun = time.process_time(); import samplewise; samplewise.Selector;"
        "print(time.process_time() - begun, *sys.modules)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    seconds, *loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), loaded


def test_importing_it_is_quick_and_loads_nothing_heavy():
    """At most 0.2 s beside torch is aimed at; a loaded machine gets twice that, and two more tries."""
    seconds, loaded = imported()
    roots = {name.split(".")[0] for name in loaded}
    assert not roots & HEAVY
    assert not {name for name in loaded if name.startswith("samplewise.") and name.split(".")[1] in UPSTAIRS}
    assert seconds < 0.4 or any(imported()[0] < 0.4 for _ in range(2))


def test_every_name_of_the_front_door_has_one_home():
    code = (
        "import samplewise as sw; names = {name: getattr(sw, name) for name in sw.__all__}\n"
        "from samplewise import *\n"
        "assert all(globals()[name] is found is getattr(sw, name) for name, found in names.items())\n"
        "assert set(sw.__all__) <= set(dir(sw)); print(callable(sw.combine), callable(sw.classifier))"
    )
    assert in_a_fresh_process(code) == "True True"
    with pytest.raises(AttributeError, match="has no attribute 'Selectro'"):
        sw.Selectro  # noqa: B018 - the look-up is the test


def command(*arguments):
    """What a command loads in a fresh process, and its processor seconds."""
    code = (
        "import sys, time\nsys.argv = ['samplewise']\nfrom samplewise.cli import main\n"
        f"assert main({list(arguments)}) == 0\n"
        "print(time.process_time(), *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, *loaded = run.stdout.splitlines()[-1].split()
    return float(seconds), loaded


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["methods"]])
def test_commands_that_train_nothing_do_not_wait_for_torch(arguments):
    """At most 0.4 s is aimed at; a loaded machine gets twice that, and two more tries."""
    seconds, loaded = command(*arguments)
    assert not {"torch", "numpy", "pyarrow", "samplewise.selector"} & set(loaded)
    assert seconds < 0.8 or any(command(*arguments)[0] < 0.8 for _ in range(2))


def in_a_fresh_process(code, **environment):
    """The last line that `code` prints."""
    command = [sys.executable, "-W", "error", "-c", code]
    env = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | environment
    return subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout.splitlines()[
        -1
    ]


def test_a_recipe_is_unpickled_where_nothing_is_registered_yet():
    policy = pickle.dumps((sw.recipes.infobatch, sw.recipes.infobatch(keep=0.25))).hex()
    code = f"import pickle; print(*pickle.loads(bytes.fromhex('{policy}')))"
    said = f"{sw.recipes.infobatch} {sw.recipes.infobatch(keep=0.25)}"
    assert in_a_fresh_process(code) == said


@pytest.mark.parametrize(
    ("begun", "given", "found"),
    [
        ("/usr/bin/samplewise", {}, "PASSIVE"),
        ("samplewise", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"),
        ("train.py", {}, None),  # how its threads wait is not a library's to set
    ],
)
def test_the_command_lets_torchs_threads_sleep_unless_told_otherwise(begun, given, found):
    code = f"import os, sys; sys.argv[0] = '{begun}'; import samplewise; print(os.getenv('OMP_WAIT_POLICY'))"
    assert in_a_fresh_process(code, **given) == str(found)


def test_the_module_is_the_command_too():
    code = (
        "import runpy, sys; sys.orig_argv = ['python', '-m', 'samplewise']; sys.argv = ['-m', '--version']\n"
        "try: runpy.run_module('samplewise', run_name='__main__')\n"
        "except SystemExit: import os; print(os.environ['OMP_WAIT_POLICY'])"
    )
    assert in_a_fresh_process(code) == "PASSIVE"
