"""The package that people install: what wheel and sdist hold, and what their metadata says."""

import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.version import Version
from trove_classifiers import classifiers

import samplewise

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "samplewise"
LONGEST = 2_000_000
"""Bytes of an archive. The studies and their rows, 16 MB, stay in the repository."""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with the sdist and the wheel that is built from it, as `python -m build` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def wheel(built):
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def metadata(wheel):
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return Metadata.from_email(wheel.read(name), validate=True)


def test_the_wheel_holds_the_library_its_data_and_the_licence_and_nothing_else(wheel):
    info = f"samplewise-{samplewise.__version__}.dist-info"
    library = {
        path.relative_to(ROOT / "src").as_posix()
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"samplewise/py.typed", "samplewise/cli/methods.json"} <= library
    files = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert set(wheel.namelist()) == library | {f"{info}/{name}" for name in files}
    assert wheel.read(f"{info}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert wheel.read(f"{info}/entry_points.txt").decode().split() == [
        "[console_scripts]",
        "samplewise",
        "=",
        "samplewise.cli:main",
    ]


def test_the_sdist_holds_what_the_wheel_is_built_from(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = [name.split("/", 1)[1] for name in archive.getnames()]
    expected = {"src", "README.md", "CHANGELOG.md", "LICENSE", "PKG-INFO", "pyproject.toml", ".gitignore"}
    assert {name.split("/")[0] for name in names} - {"CITATION.cff"} == expected
    assert all(path.stat().st_size < LONGEST for path in built.iterdir())


def test_the_metadata_is_valid_and_complete(metadata):
    assert (metadata.name, metadata.version) == ("samplewise", Version(samplewise.__version__))
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert set(metadata.project_urls) == {"Homepage", "Documentation", "Changelog", "Issues"}
    assert all(url.startswith("https://") for url in metadata.project_urls.values())
    assert set(metadata.classifiers) <= classifiers
    assert "Typing :: Typed" in metadata.classifiers
    assert metadata.description == (ROOT / "README.md").read_text()
    assert metadata.description_content_type == "text/markdown"
    assert "ray" in metadata.provides_extra


def test_this_python_is_one_that_the_package_names(metadata):
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert f"Programming Language :: Python :: {version}" in metadata.classifiers
    assert version in metadata.requires_python


def test_all_holds_every_extra_for_users(metadata):
    """Four extras are apart, for their many packages; `dev` and `docs` are for development."""
    apart = {"ray", "energy", "wandb", "mlflow"}
    wanted = {extra: set() for extra in metadata.provides_extra}
    for requirement in metadata.requires_dist:
        for extra in re.findall(r"""extra == ["'](\w+)["']""", str(requirement.marker)):
            wanted[extra].add(requirement.name)
    users = set(wanted) - {"all", "dev", "docs"} - apart
    assert wanted["all"] == set().union(*(wanted[extra] for extra in users))
    assert all(wanted[extra] for extra in apart)


def test_the_changelog_begins_with_this_version_or_what_follows_it():
    first = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert first in {"Unreleased", samplewise.__version__}


def test_the_command_says_its_version():
    done = subprocess.run([sys.executable, "-m", "samplewise", "--version"], capture_output=True, text=True)
    assert done.stdout.strip() == f"samplewise {samplewise.__version__}"
