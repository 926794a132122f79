"""The wheel and the sdist hold everything they need, and nothing else."""

import tarfile
import zipfile
from pathlib import Path

import pytest

import eventflowdb
from building.hot_path import COMPILED
from tests.system.installation import Distributions, Installation, run

pytestmark = pytest.mark.system


def python_files(checkout: Path, folder: str) -> set[str]:
    """The Python files of a folder, as paths in the checkout."""
    return {path.relative_to(checkout).as_posix() for path in (checkout / folder).rglob("*.py")}


def test_wheel_holds_package_plugin_types_and_license(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        names = set(wheel.namelist())
    info = f"eventflowdb-{eventflowdb.__version__}.dist-info"
    outside = {name for name in names if not name.startswith(f"{info}/") and not name.endswith(".so")}
    assert outside == python_files(distributions.checkout, "eventflowdb") | {
        "eventflowdb/py.typed",
        "twisted/plugins/eventflowdb_plugin.py",
    }
    assert f"{info}/licenses/LICENSE.md" in names


def test_wheel_holds_the_extensions_of_the_hot_path_and_what_they_share(distributions: Distributions) -> None:
    with zipfile.ZipFile(distributions.wheel) as wheel:
        extensions = [name.partition(".")[0] for name in wheel.namelist() if name.endswith(".so")]
    modules = [f"{folder}/{name}" for folder, names in COMPILED.items() for name in names]
    assert set(modules) < set(extensions)
    assert len(extensions) == len(modules) + 1


def test_sdist_holds_what_it_is_built_tested_and_shipped_with(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    required = python_files(distributions.checkout, "eventflowdb") | {
        "eventflowdb/py.typed",
        "twisted/plugins/eventflowdb_plugin.py",
    }
    required |= {"setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE.md", ".ci/run"}
    required |= {"Dockerfile", ".dockerignore", "docker-compose.yml"}
    required |= python_files(distributions.checkout, "tests") | python_files(distributions.checkout, "building")
    assert required <= names
    assert not [name for name in names if name.endswith((".pyc", "dropin.cache"))]


def test_twistd_lists_the_plugin_of_the_installed_wheel(installation: Installation, tmp_path: Path) -> None:
    listing = run(["twistd", "--help"], tmp_path, installation.environment())
    assert "eventflowdb" in listing
    where = run(
        ["python", "-c", "import eventflowdb; print(eventflowdb.__file__)"], tmp_path, installation.environment()
    )
    assert installation.venv in Path(where).parents
