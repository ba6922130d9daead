# SPDX-License-Identifier: MIT
"""Options that mean the same in every command, and the kinds of values that they take."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from harness.board import DEFAULT_MEMORY, RAM_MIB
from harness.errors import UserError
from harness.host.progress import Quiet
from harness.host.userpath import expanded, usable
from harness.imageset.model import PARTS

F = TypeVar("F", bound=Callable[..., Any])
AREA = "BiscuitOS_cma"

_VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
_SHARD = re.compile(r"(\d{1,6})/(\d{1,6})")
_CERTIFICATES = f"{__name__}.certificates"
CACHE_URL = "HARNESS_CACHE_URL"
POSITIVE = click.IntRange(1, 10**6)
SEED = click.IntRange(0, 2**63)
CORES = len(os.sched_getaffinity(0))


@dataclasses.dataclass
class State:
    """What one call of the command knows of itself."""

    debug: bool = False
    """Show the traceback of an error."""
    usage: int = 2
    """Exit status for a command line that cannot be used."""


class UserPath(click.ParamType[Path]):
    """A path, taken from where the user stands; ``-`` stays what it is: a standard stream."""

    name = "path"

    def __init__(self, *, pipe: bool = False) -> None:
        self._pipe = pipe

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Absolute, with ``~`` replaced. Raises `UserError` for what cannot be a path, and for a
        file that two options are to write.
        """
        if str(value) == "-":
            return Path("-")
        path = usable(expanded(value).absolute(), pipe=self._pipe)
        if self._pipe and ctx is not None and param is not None:
            written = ctx.meta.setdefault(__name__, {})
            other = written.setdefault(path.resolve(), param.opts[0])
            if other != param.opts[0] and (path.is_file() or not path.exists()):
                raise UserError(f"{other} and {param.opts[0]} would both write {path}")
        return path

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The shell's own completion of file names."""
        return [CompletionItem(incomplete, type="file")]


PATH = UserPath()
OUTPUT = UserPath(pipe=True)
"""A file that is written."""


class FloatRange(click.FloatRange):
    """click's lets NaN through."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """A finite number."""
        found: float = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no finite number", param, ctx)
        return found


MANY = 1e6
"""The end of a range that needs none."""


class PathOrWord(click.ParamType[str]):
    """A file, as it was typed, or a word that is none."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The path with ``~`` replaced; all else as it is."""
        text = str(value)
        return str(expanded(text)) if text.startswith("~") else text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The shell's own completion of file names."""
        return [CompletionItem(incomplete, type="file")]


PATH_OR_WORD = PathOrWord()


class Kernel(click.ParamType[str | Path]):
    """A kernel: ``6.1`` (Debian's linux-source), ``newest``, a source tree, or a zImage."""

    name = "kernel"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        """A version as text, a directory or a file as path."""
        if isinstance(value, Path) or value == "newest" or _VERSION.fullmatch(value):
            return value  # type: ignore[no-any-return]
        path = usable(expanded(value).absolute())
        if not path.exists():
            near = _VERSION.search(value)
            self.fail(
                f"{value}: neither a version (6.1), nor newest, nor a kernel tree, nor a zImage"
                " that is there" + (f"; did you mean {near[0]}?" if near else ""),
                param,
                ctx,
            )
        return path


class Shard(click.ParamType[tuple[int, int]]):
    """``I/N``, I from 1 to N."""

    name = "shard"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """Both numbers."""
        if isinstance(value, tuple):
            return value
        match = _SHARD.fullmatch(value)
        part = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= part[0] <= part[1]:
            self.fail(f"{value}: expected I/N with I from 1 to N", param, ctx)
        return part


def words_of(values: Mapping[str, Any]) -> list[str]:
    """Options as they are written on a command line: for a command that calls itself."""
    words = []
    for name, value in values.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, tuple):
            words += [word for each in value for word in (option, str(each))]
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words


def _debug(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(context.obj, State):
        context.obj.debug = True


def _once(context: click.Context, parameter: click.Parameter, values: tuple[Any, ...]) -> Any:
    if len(values) > 1:
        raise click.BadParameter("it was given more than once", context, parameter)
    return values[0] if values else None


def _quiet(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    Quiet.wanted = value


def debug(function: F) -> F:
    """``--debug`` and ``--quiet``, which every command takes."""
    quiet = click.option(
        "--quiet",
        "-q",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_quiet,
        help="Print results and errors only.",
    )
    return quiet(_debug_option(function))


def _debug_option(function: F) -> F:
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_debug,
        help="Show the traceback of an error.",
    )(function)


def _unconfined(_context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from harness.machine.confine import allow_unconfined

        allow_unconfined()


def unconfined(function: F) -> F:
    """``--unconfined``: in this process and all that it starts."""
    return click.option(
        "--unconfined",
        is_flag=True,
        expose_value=False,
        callback=_unconfined,
        help="Where this host can confine nothing, build and boot all the same what you trust.",
    )(function)


def kernel(what: str = "", *more: str) -> Callable[[F], F]:
    """``--kernel``; `more` are further spellings of it."""
    return click.option(
        "--kernel",
        "--kernel-version",
        "--kernel-source",
        *more,
        "kernel",
        metavar="X.Y|newest|DIR|FILE",
        type=Kernel(),
        multiple=True,
        callback=_once,
        help=what
        or "Debian's linux-source-X.Y (default: 6.1), the newest that apt has, a kernel tree (5.0"
        " or later; only read), or a zImage.",
    )


def config(function: F) -> F:
    """``--config FRAGMENT``."""
    return click.option(
        "--config",
        metavar="FRAGMENT",
        type=PATH,
        multiple=True,
        help="Kernel options to merge into ours, as scripts/kconfig/merge_config.sh does (may be"
        " repeated).",
    )(function)


def output(what: str, *more: str) -> Callable[[F], F]:
    """``--output DIR``."""
    return click.option("--output", *more, "output", metavar="DIR", type=PATH, help=what)


def jobs(what: str, default: int | None = CORES) -> Callable[[F], F]:
    """``--jobs N``: how much at once."""
    return click.option(
        "--jobs", "-j", "-n", "jobs", metavar="N", type=POSITIVE, default=default, help=what
    )


def as_json(what: str = "Print the result as JSON.") -> Callable[[F], F]:
    """``--json``: standard output is one JSON document; all else goes to standard error."""
    return click.option("--json", "as_json", is_flag=True, help=what)


def _cluster(context: click.Context, _parameter: click.Parameter, value: str | None) -> Any:
    from harness.engine.address import check_address
    from harness.engine.choose import ClusterChoice

    certificates = context.meta.get(_CERTIFICATES)
    if value is None:
        return ClusterChoice()
    return ClusterChoice(check_address(value), certificates)


def _certificates(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    context.meta[_CERTIFICATES] = value


def _cache_url(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        if value:  # empty: none, whatever the environment says
            from harness.builders.tier import store_of

            store_of(value, "--cache-url")
        # Whatever is started from here looks there too.
        os.environ[CACHE_URL] = value


def cache_url(function: F) -> F:
    """``--cache-url URL``."""
    return click.option(
        "--cache-url",
        metavar="URL",
        expose_value=False,
        callback=_cache_url,
        help="Where built parts are looked for and left: a directory, http:// or s3://.",
    )(function)


def cluster(function: F) -> F:
    """``--cluster ADDRESS`` and what belongs to it, as a `harness.engine.choose.ClusterChoice`."""
    decorators = [
        click.option(
            "--cluster",
            metavar="ADDRESS",
            callback=_cluster,
            help="Run on a cluster: tls://HOST:PORT, or local:N for N workers here.",
        ),
        click.option(
            "--certificates",
            metavar="DIR",
            type=PATH,
            expose_value=False,
            is_eager=True,
            callback=_certificates,
            help="The directory that `harness cluster certificates` made.",
        ),
        cache_url,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def area(function: F) -> F:
    """``--area``."""
    return click.option(
        "--area",
        metavar="NAME",
        default=AREA,
        show_default=True,
        help="CMA area that must hold the allocation.",
    )(function)


def variant(function: F) -> F:
    """``--variant``."""
    return click.option(
        "--variant",
        metavar="NAME",
        help="Build the kernel so that it checks itself: kasan, ubsan, lockdep, debug, preempt.",
    )(function)


def system(function: F) -> F:
    """What is booted: ``--kernel``, ``--biscuitos``, parts, RAM, command line, area."""
    decorators = [
        kernel(),
        click.option(
            "--unpatched",
            is_flag=True,
            help="Build the kernel as it is, without what this project adds.",
        ),
        variant,
        config,
        click.option(
            "--biscuitos",
            metavar="DIR",
            type=PATH,
            help="A BiscuitOS output tree, as it is; only read.",
        ),
        click.option(
            "--memory",
            metavar="MIB",
            type=click.IntRange(RAM_MIB[0], RAM_MIB[-1]),
            help=f"The guest's RAM in MiB (default: {DEFAULT_MEMORY}, or the BiscuitOS tree's).",
        ),
        area,
        *(
            click.option(
                f"--{name}", metavar="FILE", type=PATH, help=f"This {name}, not the built one."
            )
            for name in PARTS
            if name != "kernel"
        ),
        click.option(
            "--dts",
            metavar="FILE",
            type=PATH,
            help="A device tree's source to build, with the kernel's own files to include.",
        ),
        click.option("--append", metavar="TEXT", help="More for the kernel's command line."),
        unconfined,
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
