"""The hot path: the modules that mypyc makes extensions of, which behave as the plain ones do.

An installation compiles them where it can (CPython, a C compiler and Python's headers) and stays plain Python where it
cannot. EVENTFLOWDB_COMPILE=0 leaves them plain, =1 fails where they cannot be compiled.
"""

import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

from setuptools import Extension
from setuptools.command.build_ext import build_ext

COMPILED = {
    "eventflowdb": ("append", "ids"),
    "eventflowdb/commands": ("arguments",),
    "eventflowdb/wire": ("inline", "integers", "links", "replies", "requests", "values"),
    "eventflowdb/storage": (
        *("batch", "changes", "checksum", "conditions", "consumers", "environment", "id_lists", "journal", "layout"),
        *("lmdb_store", "log_walk", "queries", "records", "requests", "room", "searches", "selection", "settling"),
        *("spans", "stream_index", "tip", "transactions"),
    ),
    "eventflowdb/service": (
        *("appends", "budget", "commits", "company", "contention", "conversation", "database", "dispatch"),
        *("forwarding", "freshness", "fronts", "grouping", "groups", "handshake", "inline", "notices", "outbox"),
        *("pacing", "pages", "reads", "recent", "records", "reply", "responders", "session", "shared_notices"),
        *("statistics", "turns", "unseen", "waits", "window", "writer"),
    ),
}
"""The modules, by folder."""

PLACE = "eventflowdb.hot_path"
"""Stands for the extensions until they are known: naming them takes a run of mypyc, and only the build needs them."""

SWITCH = "EVENTFLOWDB_COMPILE"
"""The variable that says whether they are compiled: 0 never, 1 at any price, otherwise where it can be done."""

_HEADERS = b"#include <Python.h>\n"


def is_demanded() -> bool:
    """Whether a build that cannot compile them has to fail."""
    wish = os.environ.get(SWITCH, "")
    if wish not in ("", "0", "1"):
        raise SystemExit(f"{SWITCH}: expected 0, 1 or nothing, got {wish!r}")
    return wish == "1"


def is_compiled() -> bool:
    """Whether a build is to try."""
    return is_demanded() or (os.environ.get(SWITCH) != "0" and _has_compiler())


def extensions() -> "list[Extension]":
    """What setup is told of them."""
    return [Extension(PLACE, [])] if is_compiled() else []


def _has_compiler() -> bool:
    if sys.implementation.name != "cpython":
        return False
    compiler = shlex.split(os.environ.get("CC") or str(sysconfig.get_config_var("CC") or "cc"))
    folders = {f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")}
    try:
        tried = subprocess.run(
            [*compiler, *folders, "-x", "c", "-fsyntax-only", "-"], check=False, input=_HEADERS, capture_output=True
        )
    except OSError:
        return False
    return tried.returncode == 0


def _processors() -> int:
    """How many this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class BuildHotPath(build_ext):
    """build_ext, which learns of mypyc what there is to build."""

    def run(self) -> None:
        """Build them; where that fails and nobody demanded it, leave them plain and say so."""
        # From here on the place is no extension of its own; it still says that the wheel is one of this platform.
        place, self.extensions = self.distribution.ext_modules, []
        self._remove_extensions()
        try:
            self._build()
        except (Exception, SystemExit) as error:  # mypyc exits where mypy finds something wrong
            if is_demanded():
                raise
            self._remove_extensions()
            self.distribution.ext_modules = place
            self.warn(f"the hot path stays plain Python, since it could not be compiled: {error!r}")

    def _remove_extensions(self) -> None:
        """Those of this build, or of an earlier one in the same folder, whose modules may have been others."""
        for path in Path(self.build_lib).rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
            path.unlink()

    def _build(self) -> None:
        from mypyc.build import mypycify  # noqa: PLC0415 - only those who compile have it

        modules = [f"{folder}/{name}.py" for folder, names in COMPILED.items() for name in names]
        # In many files: in one, which mypyc prefers, gcc takes three times as long for as many instructions.
        made = mypycify(modules, opt_level="3", debug_level="0", multi_file=True)
        self.distribution.ext_modules = list(made)  # type: ignore[arg-type]  # they are setuptools'
        compiling = CompileExtensions(self.distribution)
        compiling.build_lib, compiling.build_temp, compiling.inplace = self.build_lib, self.build_temp, self.inplace
        compiling.ensure_finalized()
        compiling.run()


class CompileExtensions(build_ext):
    """build_ext on all processors, which setuptools has for extensions but not for the files of one."""

    def finalize_options(self) -> None:
        """Compile everything anew, and as much at once as there are processors."""
        super().finalize_options()
        self.parallel = _processors()
        # What an earlier build has left in the folder is never taken for this one's.
        self.force = True

    def build_extensions(self) -> None:
        """Compile the sources of all extensions beside each other, then link them."""

        def compiled(extension: Extension, source: str) -> list[str]:
            objects: list[str] = self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                include_dirs=extension.include_dirs,
                extra_postargs=extension.extra_compile_args,
                depends=extension.depends,
            )
            return objects

        with ThreadPoolExecutor(self.parallel) as pool:
            compiling = [pool.map(partial(compiled, extension), extension.sources) for extension in self.extensions]
            for extension, objects in zip(self.extensions, compiling, strict=True):
                extension.extra_objects = [*extension.extra_objects, *chain.from_iterable(objects)]
                extension.sources = []
        super().build_extensions()
