"""When the hot path is compiled, and what becomes of a build that cannot."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import mypyc.build
import pytest
from setuptools import Distribution, Extension
from setuptools.errors import CompileError

from building import backend
from building.hot_path import COMPILED, SWITCH, BuildHotPath, CompileExtensions, extensions, is_compiled
from building.requirements import COMPILERS, LIBRARIES
from tests.system.installation import ROOT


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not said here is not said by the environment of the tests, nor does it get to hear of it."""
    monkeypatch.setenv(SWITCH, "")
    monkeypatch.delenv(SWITCH, raising=False)
    monkeypatch.delenv("CC", raising=False)


def test_its_modules_are_there() -> None:
    for folder, names in COMPILED.items():
        for name in names:
            assert (ROOT / folder / f"{name}.py").exists()


# When.


def test_it_is_compiled_where_that_can_be_done() -> None:
    assert is_compiled()
    assert len(extensions()) == 1
    assert {*COMPILERS, *LIBRARIES} <= set(backend.get_requires_for_build_wheel())


def test_it_is_plain_where_one_asks_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    assert not is_compiled()
    assert extensions() == []
    assert not set(COMPILERS) & set(backend.get_requires_for_build_wheel())


def test_it_is_refused_to_say_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "off")
    with pytest.raises(SystemExit, match="expected 0, 1 or nothing, got 'off'"):
        is_compiled()


@pytest.mark.parametrize("compiler", ["false", "/there/is/none"])
def test_it_is_plain_without_a_compiler(monkeypatch: pytest.MonkeyPatch, compiler: str) -> None:
    monkeypatch.setenv("CC", compiler)
    assert not is_compiled()
    monkeypatch.setenv(SWITCH, "1")
    assert is_compiled()


def test_it_is_plain_without_the_headers_of_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\n! grep Python.h\n", encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("CC", str(compiler))
    assert not is_compiled()


def test_it_is_plain_on_another_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert not is_compiled()


def test_it_is_plain_in_an_editable_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not set(COMPILERS) & set(backend.get_requires_for_build_editable())
    assert not is_compiled()
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises(SystemExit, match="install without -e, or unset it"):
        backend.get_requires_for_build_editable()


# Builds.

SOURCE = """
#include <Python.h>
#include "answer.h"
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "answering", 0, -1, 0};
PyMODINIT_FUNC PyInit_answering(void)
{
    PyObject *module = PyModule_Create(&definition);
    PyModule_AddIntConstant(module, "ANSWER", answer());
    return module;
}
"""


def test_all_files_of_an_extension_are_compiled_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "answer.h").write_text("int answer(void);")
    (tmp_path / "answering.c").write_text(SOURCE)
    for answer in (41, 42):
        # As if it had been written long before the build that is there.
        (tmp_path / "answer.c").write_text(f"int answer(void) {{ return {answer}; }}")
        os.utime(tmp_path / "answer.c", (0, 0))
        extension = Extension("answering", ["answering.c", "answer.c"], include_dirs=["."])
        compiling = CompileExtensions(Distribution({"ext_modules": [extension]}))
        compiling.ensure_finalized()
        compiling.run()
        told = [sys.executable, "-c", "import answering; print(answering.ANSWER)"]
        assert subprocess.check_output(told, cwd=compiling.build_lib, text=True) == f"{answer}\n"


# Builds that fail.


def mypy_fails(*_paths: object, **_options: object) -> list[Extension]:
    """As where mypy finds something wrong."""
    raise SystemExit(1)


def gcc_fails(*_paths: object, **_options: object) -> list[Extension]:
    """One extension that can be compiled and one that cannot."""
    Path("good.c").write_text("#include <Python.h>\nPyMODINIT_FUNC PyInit_good(void) { return 0; }", encoding="utf-8")
    Path("bad.c").write_text("this is not C", encoding="utf-8")
    return [Extension("good", ["good.c"]), Extension("bad", ["bad.c"])]


@pytest.fixture(params=[mypy_fails, gcc_fails])
def build(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildHotPath:
    """A build that fails, in a folder that holds an extension of an earlier one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mypyc.build, "mypycify", request.param)
    building = BuildHotPath(Distribution({"name": "eventflowdb", "ext_modules": extensions()}))
    building.build_lib, building.build_temp = str(tmp_path / "lib"), str(tmp_path / "temp")
    building.ensure_finalized()
    (tmp_path / "lib/eventflowdb").mkdir(parents=True)
    (tmp_path / f"lib/eventflowdb/ids{sysconfig.get_config_var('EXT_SUFFIX')}").touch()
    (tmp_path / "lib/eventflowdb/ids.py").touch()
    return building


def test_what_cannot_be_compiled_stays_plain(
    build: BuildHotPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(build, "warn", said.append)
    build.run()
    assert [path.name for path in (tmp_path / "lib").rglob("*.*")] == ["ids.py"]
    assert build.get_outputs() == []
    # What is installed as this platform's lies where it is looked for.
    assert build.distribution.has_ext_modules()
    (warning,) = said
    assert warning.startswith("the hot path stays plain Python, since it could not be compiled: ")


def test_what_has_to_be_compiled_fails(build: BuildHotPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "1")
    with pytest.raises((SystemExit, CompileError)):
        build.run()


def test_extensions_of_an_earlier_build_are_removed(
    build: BuildHotPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mypyc.build, "mypycify", lambda *_paths, **_options: [])
    build.run()
    assert [path.name for path in (tmp_path / "lib").rglob("*.*")] == ["ids.py"]
