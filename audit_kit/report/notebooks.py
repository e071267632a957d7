"""Run notebooks without a person: checked parameters, one language, a time limit, one more try for a dead kernel.

A notebook declares its parameters in the cell tagged `parameters`, one a line: `name: type = value  # meaning`.
"""

from __future__ import annotations

import ast
import copy
import logging
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from traitlets import default

from audit_kit.core import errors, outputs, processes
from audit_kit.core.errors import RequestError
from audit_kit.core.words import LANGUAGES
from audit_kit.resources.languages import Phrase

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PARAMETERS = "parameters"
INTERACTIVE = "interactive"
IPYTHON = "ipython"
CELL_SECONDS = 900
START_SECONDS = 120
# Nothing of the folder a kernel stands in, and no file of the user's own, runs before the first cell.
ALONE = ("--InteractiveShellApp.ignore_cwd=True", "--InteractiveShellApp.exec_PYTHONSTARTUP=False")
MARKS = 2  # cells that papermill puts before a failing one: a banner at the top, an anchor
_TYPES: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float), "bool": (bool,)}


class NotebookFailed(Exception):  # noqa: N818  it says what happened, and never reaches a person by this name
    """A notebook stopped at a cell; `path` is the notebook as far as it came.

    `kind` is the error's class name and `message` its words; `cell` counts from 1, 0 if no cell had begun.
    """

    def __init__(self, path: Path, *, cell: int, kind: str, message: str, told: str | None = None) -> None:
        """Keep what a reader needs to find the cell; `told` is the message in the language of the run."""
        super().__init__(f"{path.name}, cell {cell}: {kind}: {message}")
        self.path, self.cell, self.kind, self.message, self._told = path, cell, kind, message, told or message

    def said(self, lang: str = "en") -> str:
        """Return the message as a part of a sentence: in English, or in the language of the run."""
        words = " ".join((self.message if lang == "en" else self._told).split())
        return words.rstrip(". 。")

    @property
    def user_error(self) -> type[errors.AuditError] | None:
        """The error class, if the notebook stopped for a reason that a user can mend."""
        found = getattr(errors, self.kind, None)
        return found if isinstance(found, type) and issubclass(found, errors.AuditError) else None


@dataclass(frozen=True)
class Parameter:
    """One line of the parameters cell."""

    name: str
    types: tuple[type, ...]
    annotation: str
    value: Any


def parameters(notebook: nbformat.NotebookNode) -> dict[str, Parameter]:
    """Return what a notebook can be told, by name."""
    source = "\n".join(cell.source for cell in notebook.cells if PARAMETERS in _tags(cell))
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            annotation = ast.unparse(node.annotation)
            words = [word.strip() for word in annotation.split("|")]
            types = tuple(kind for word in words for kind in _TYPES.get(word, (type(None),) if word == "None" else ()))
            found[node.target.id] = Parameter(node.target.id, types, annotation, ast.literal_eval(node.value))
    return found


def check(notebook: nbformat.NotebookNode, values: Mapping[str, Any], *, name: str) -> None:
    """Refuse a parameter that the notebook does not have, or a value of another type."""
    known = parameters(notebook)
    listed = ", ".join(f"{parameter.name}: {parameter.annotation}" for parameter in known.values())
    for key, value in values.items():
        if key not in known:
            raise RequestError("error_report.no_parameter", name=name, key=key, listed=listed)
        exact = type(value) in known[key].types
        if not exact:
            raise RequestError(
                "error_report.wrong_parameter",
                name=name,
                key=key,
                annotation=known[key].annotation,
                value=value,
                listed=listed,
            )


def prepared(notebook: nbformat.NotebookNode, *, lang: str) -> nbformat.NotebookNode:
    """Return the notebook without the cells that need a person, and without the prose of the other language."""
    kept = copy.deepcopy(notebook)
    unwanted = {INTERACTIVE, *LANGUAGES} - {lang}
    kept.cells = [cell for cell in kept.cells if not unwanted & _tags(cell)]
    kept.metadata.pop("widgets", None)
    return kept


def run(
    path: Path,
    values: Mapping[str, Any],
    *,
    lang: str,
    folder: Path,
    seconds: int = CELL_SECONDS,
    kernels: _Kernels | None = None,
) -> Path:
    """Run one notebook into `folder` and return the executed copy; raise `NotebookFailed` where it stopped.

    It runs where we stand, so that a relative path means there what it means here; but nothing is imported from there.
    """
    kernels = kernels or _Kernels(lang)
    notebook = nbformat.read(path, as_version=4)
    check(notebook, values, name=path.name)
    out = folder / path.name
    with outputs.scratch(folder) as scratch:
        copied = scratch / path.name
        nbformat.write(prepared(notebook, lang=lang), copied)
        try:
            _papermill(copied, out, values, seconds=seconds, kernels=kernels)
        except (DeadKernelError, RuntimeError):
            if kernels.are_ended:
                raise
            _papermill(copied, out, values, seconds=seconds, kernels=kernels, last=True)
    return out


def run_all(
    paths: Sequence[Path],
    values: Mapping[str, Any],
    *,
    lang: str,
    folder: Path,
    jobs: int,
    done: Callable[[Path], None],
) -> None:
    """Run notebooks, `jobs` at a time; `done` is called with each executed copy. The first failure stops the rest."""
    processes.heed_interrupts()
    kernels = _Kernels(lang)
    with ThreadPoolExecutor(max_workers=jobs) as threads:
        running = [threads.submit(run, path, values, lang=lang, folder=folder, kernels=kernels) for path in paths]
        try:
            for finished in as_completed(running):
                done(finished.result())
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            kernels.end()
            raise


def _papermill(
    path: Path, out: Path, values: Mapping[str, Any], *, seconds: int, kernels: _Kernels, last: bool = False
) -> None:
    from papermill import PapermillExecutionError, execute_notebook  # noqa: PLC0415  2 s, needed here only

    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would say is in what is raised
    try:
        execute_notebook(
            _as_it_stands(path),
            _as_it_stands(out),
            parameters=dict(values),
            kernel_name="python3",
            language="python",
            progress_bar=False,
            start_timeout=START_SECONDS,
            execution_timeout=seconds,
            kernel_manager_class=kernels.manager_class(path.parent / IPYTHON),
            extra_arguments=["--log-level=50"],
            resources={"metadata": {"path": str(Path.cwd())}},
        )
    except PapermillExecutionError as error:
        told = error.traceback[0] if len(error.traceback) == 1 else None  # the sentence of an error of ours
        cell = error.cell_index + MARKS + 1
        raise NotebookFailed(out, cell=cell, kind=error.ename, message=error.evalue, told=told) from None
    except CellTimeoutError:
        raise _stopped(out, "CellTimeoutError", Phrase("error_report.cell_seconds", seconds=seconds), kernels) from None
    except (DeadKernelError, RuntimeError) as error:
        if not last:
            raise
        raise _stopped(out, type(error).__name__, Phrase("error_report.kernel_died", error=error), kernels) from None


def _as_it_stands(path: Path) -> str:
    """Return a path for papermill, which takes a word in braces for a parameter."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _stopped(out: Path, kind: str, why: Phrase, kernels: _Kernels) -> NotebookFailed:
    """Mark the cell in the notebook where papermill itself leaves no mark."""
    message, told = why.said(), why.said(kernels.lang)
    if not out.is_file():
        return NotebookFailed(out, cell=0, kind=kind, message=message, told=told)
    notebook = nbformat.read(out, as_version=4)
    begun = [cell.metadata.get("papermill", {}).get("status") not in {None, "pending"} for cell in notebook.cells]
    place = max((place for place, state in enumerate(begun, 1) if state), default=0)
    notebook.cells.insert(place, nbformat.v4.new_markdown_cell(f"**{kind}: {told}**"))
    nbformat.write(notebook, out)
    return NotebookFailed(out, cell=place, kind=kind, message=message, told=told)


def _tags(cell: nbformat.NotebookNode) -> set[str]:
    return set(cell.metadata.get("tags", ()))


class OwnPython(KernelSpecManager):
    """The Python that runs us, whatever kernel bears its name, without the folder it stands in."""

    def find_kernel_specs(self) -> dict[str, str]:
        """Return the folder of each kernel by name."""
        return {**super().find_kernel_specs(), NATIVE_KERNEL_NAME: RESOURCES}

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return how a kernel is started."""
        if kernel_name != NATIVE_KERNEL_NAME:
            return super().get_kernel_spec(kernel_name)
        spec = KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())
        spec.argv = [*processes.python("-m", "ipykernel", "-f", "{connection_file}"), *ALONE]
        spec.env = dict(processes.SAFE)
        return spec


class _Kernels:
    """The kernels of one run, told that no person is watching; all can be ended at once, and then none starts."""

    def __init__(self, lang: str) -> None:
        self.lang = lang
        self.are_ended = False
        self._running: list[AsyncKernelManager] = []
        self._lock = threading.Lock()

    def manager_class(self, ipython: Path) -> type[AsyncKernelManager]:
        """Return a kernel manager whose kernel is one of these, with IPython's own files in a folder of its own."""
        kernels = self

        class OwnKernel(AsyncKernelManager):
            @default("kernel_spec_manager")
            def _own_python(self) -> KernelSpecManager:
                return OwnPython(parent=self)

            @default("connection_file")
            def _own_connection_file(self) -> str:
                return str(ipython.with_name("kernel.json"))  # else in the temporary folder, for good after a kill

            async def start_kernel(self, **options: Any) -> None:  # type: ignore[override]  # noqa: ANN401  as there
                if kernels.are_ended:
                    raise RuntimeError("the run was broken off")
                told = {"AUDIT_KIT_BATCH": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1", "IPYTHONDIR": str(ipython)}
                told["AUDIT_KIT_LANG"] = kernels.lang
                await super().start_kernel(env=processes.environment(**told), **options)
                kernels.started(self)

        return OwnKernel

    def started(self, manager: AsyncKernelManager) -> None:
        """Count a kernel among these."""
        with self._lock:
            self._running.append(manager)
            if self.are_ended:
                _kill(manager)

    def end(self) -> None:
        """Kill them."""
        with self._lock:
            self.are_ended = True
            for manager in self._running:
                _kill(manager)


def _kill(manager: AsyncKernelManager) -> None:
    """Kill a kernel and what it started, from outside the loop that waits for it."""
    process = getattr(manager.provisioner, "process", None)
    if process is None or process.poll() is not None:
        return
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)  # a kernel leads a session of its own
        else:
            process.kill()
