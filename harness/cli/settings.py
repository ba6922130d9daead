# SPDX-License-Identifier: MIT
"""``harness.toml``: a repository's settings, read by every command; what is typed wins.

The file is looked for where the user is and above. Paths in it are relative to it. A table of a
command's name (``[gate]``) holds settings for that command alone.
"""

from __future__ import annotations

import difflib
import importlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.board import RAM_MIB
from harness.errors import UserError
from harness.host.userpath import expanded
from harness.imageset.model import PARTS

NAME = "harness.toml"
_VERSION = re.compile(r"\d+\.\d+(\.\d+)?|newest")
_PATHS = ("dtb", "initrd", "disk", "module", "app", "dts", "select", "output")
_FILES = {"output"}
"""What names a directory here, and a file for the commands of a group."""
_OF_PYTEST = {"kernel", "config", "jobs", "output", "select", "unpatched", "area", "memory"} | {
    *("append", "variant", "dts", "dtb", "initrd", "disk", "module", "app")
}
"""What `harness test` takes; it says itself that it cannot take ``config``."""
_WHOLE = ("--biscuitos", "--image-set", "--qemu-image-set", "--qemu-biscuitos")
"""Options that say all of what is booted: what the file says of that is not taken with them."""
_BOOTED = ("kernel", "config", "append", "unpatched", "variant", "dts", *PARTS)


class _Model(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        alias_generator=lambda name: name.replace("_", "-"),
    )


class Common(_Model):
    """What means the same in each command that has it."""

    kernel: str | None = Field(default=None, description="6.1, newest, a kernel tree, or a zImage")
    config: list[str] = Field(
        default=[], description="fragments of kernel options, merged into ours"
    )
    variant: str | None = Field(
        default=None, description="a kernel that checks itself: kasan, lockdep, …"
    )
    unpatched: bool | None = Field(
        default=None, description="the kernel without what the harness adds"
    )
    area: str | None = Field(default=None, description="the CMA area that memory must come from")
    memory: Annotated[int, Field(ge=RAM_MIB[0], le=RAM_MIB[-1])] | None = Field(
        default=None, description="RAM in MiB"
    )
    append: str | None = Field(default=None, description="more for the kernel's command line")
    dts: str | None = Field(default=None, description="the layout of areas: a device tree's source")
    dtb: str | None = Field(default=None, description="the same, compiled")
    initrd: str | None = Field(default=None, description="the root image, as a RAM disk")
    disk: str | None = Field(default=None, description="the root image, as a disk")
    module: str | None = Field(default=None, description="the driver")
    app: str | None = Field(default=None, description="the application")
    jobs: Annotated[int, Field(ge=1, le=10**6)] | None = Field(
        default=None, description="how much at once"
    )
    timeout: Annotated[float, Field(ge=1, le=86400)] | None = Field(
        default=None, description="seconds for all that a guest has to do", strict=False
    )
    output: str | None = Field(default=None, description="a directory: each command has one in it")
    select: str | None = Field(default=None, description="a file that names the tests to run")


class Gate(Common):
    """Settings of ``harness gate``."""

    whole: bool | None = Field(default=None, description="run all tests")
    boot_limit: Annotated[float, Field(ge=1)] | None = Field(
        default=None, strict=False, description="boot time, against the base's, that is too long"
    )
    latency_limit: Annotated[float, Field(ge=1)] | None = Field(
        default=None, strict=False, description="the same for the time of an allocation"
    )
    require_coverage: bool | None = Field(
        default=None, description="reject what changes code that no test executes"
    )


class Settings(Common):
    """The whole file."""

    run: Common = Common()
    test: Common = Common()
    shell: Common = Common()
    build: Common = Common()
    gate: Gate = Gate()
    check: Common = Common()
    watch: Common = Common()
    bisect: Common = Common()
    explore: Common = Common()
    mutants: Common = Common()
    nightly: Common = Common()
    bench: Common = Common()


def find(place: Path) -> Path | None:
    """The file that counts for a user in the directory `place`; None where there is none."""
    return next((d / NAME for d in (place, *place.parents) if os.path.lexists(d / NAME)), None)


def read(path: Path) -> Settings:
    """What the file says. Raises `UserError` with the number of the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"at line (\d+)", str(error))
        number = at[1] if at else str(text.count("\n") + 1)
        raise UserError(f"{path}:{number}: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise UserError(f"{path}: {error}") from error
    try:
        return Settings.model_validate(content)
    except ValidationError as error:
        rows = [_mistake(path, text, dict(one)) for one in error.errors()]
        raise UserError("\n".join(dict.fromkeys(rows))) from error


def _mistake(path: Path, text: str, error: Mapping[str, Any]) -> str:
    keys = [str(key) for key in error["loc"] if isinstance(key, str)]
    where = f"{path}:{line_of(text, keys)}: "
    if error["type"] != "extra_forbidden":
        return f"{where}{'.'.join(keys)}: {str(error['msg']).lower()}, not {error['input']!r}"
    model = Settings if len(keys) == 1 else Gate if keys[0] == "gate" else Common
    known = [name.replace("_", "-") for name in model.model_fields]
    near = difflib.get_close_matches(keys[-1], known, 1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{where}unknown key {keys[-1]}; {hint}"


def line_of(text: str, keys: Sequence[str]) -> int:
    """The line, from 1, of a key, given with the tables that it is in; 1 where it is not found."""
    table: list[str] = []
    for number, row in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", row):
            table = [part.strip().strip("\"'") for part in header[1].split(".")]
            if table == list(keys):
                return number
        elif found := re.match(r"\s*([\w.\"'-]+)\s*=", row):
            name = [part.strip("\"'") for part in found[1].split(".")]
            if [*table, *name][: len(keys)] == list(keys):
                return number
    return 1


def values(settings: Settings, path: Path, command: str) -> dict[str, Any]:
    """What a command finds set, by the names of its options; paths are absolute."""
    table: Common | None = getattr(settings, command.replace("-", "_"), None)
    tables = set(Settings.model_fields) - set(Common.model_fields)
    found = settings.model_dump(exclude_unset=True, exclude=tables)
    if isinstance(table, Common):
        found |= table.model_dump(exclude_unset=True)
    base = path.parent
    for name in _PATHS:
        if found.get(name):
            found[name] = str(base / expanded(found[name]))
    if found.get("output"):
        found["output"] = str(Path(found["output"]) / command)
    found["config"] = [str(base / expanded(name)) for name in found.get("config", [])]
    kernel = found.get("kernel")
    if kernel and not _VERSION.fullmatch(kernel):
        found["kernel"] = str(base / expanded(kernel))
    return {name: value for name, value in found.items() if value not in (None, [])}


def _takes(command: click.Command) -> set[str]:
    """The names of a command's options, or of those of a group's commands."""
    if isinstance(command, click.Group):
        return set().union(*map(_takes, command.commands.values())) - _FILES
    return {parameter.name or "" for parameter in command.params}


def _check_table(settings: Settings, path: Path, command: str) -> None:
    """Raises `UserError` for what a command's own table says, and the command has no option for."""
    table = getattr(settings, command.replace("-", "_"), Common())
    module = importlib.import_module(f"harness.cli.{command.replace('-', '_')}")
    known = _OF_PYTEST if command == "test" else _takes(module.command)
    for name in sorted(table.model_fields_set - known):
        key = name.replace("_", "-")
        line = line_of(path.read_text(encoding="utf-8"), [command, key])
        taken = ", ".join(sorted(known & set(type(table).model_fields))).replace("_", "-")
        raise UserError(f"{path}:{line}: {command} has no option for {key}; it takes {taken}")


def given(words: Sequence[str], command: str, place: Path) -> dict[str, Any]:
    """What the user's file says for a command that is called with `words`. Raises `UserError`."""
    path = find(place)
    if path is None:
        return {}
    settings = read(path)
    _check_table(settings, path, command)
    found = values(settings, path, command)
    if any(word.partition("=")[0] in _WHOLE for word in words):
        found = {name: value for name, value in found.items() if name not in _BOOTED}
    return found


def defaults(command: click.Command, found: Mapping[str, Any]) -> dict[str, Any]:
    """The same for click, as far as the command has such an option; for a group, by its commands'
    names.
    """
    if isinstance(command, click.Group):
        rest = {name: value for name, value in found.items() if name not in _FILES}
        return {name: defaults(one, rest) for name, one in command.commands.items()}
    result = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name in found:
            value = found[parameter.name]
            listed = parameter.multiple and not isinstance(value, list)
            result[parameter.name] = [value] if listed else value
    return result


def pytest_words(found: Mapping[str, Any]) -> list[str]:
    """The same as arguments of pytest."""
    return list(_pytest_words(found))


def _pytest_words(found: Mapping[str, Any]) -> Iterator[str]:
    kernel = found.get("kernel")
    if kernel and _VERSION.fullmatch(kernel):
        yield f"--qemu-kernel-version={kernel}"
    elif kernel:
        yield f"--qemu-kernel{'-source' if Path(kernel).is_dir() else ''}={kernel}"
    names = ("dts", "dtb", "initrd", "disk", "module", "app", "memory", "area", "append", "variant")
    for name in (*names, "select"):
        if name in found:
            yield f"--qemu-{name}={found[name]}"
    if "output" in found:
        yield f"--qemu-artifacts={found['output']}"
    if found.get("unpatched"):
        yield "--qemu-unpatched"
