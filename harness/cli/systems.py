# SPDX-License-Identifier: MIT
"""From a command's options to the system under test, and to a machine that runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import click

from harness.board import COMMANDS, DEFAULT_MEMORY, LOG
from harness.errors import HarnessError, UserError
from harness.host.progress import Quiet, waiting
from harness.imageset.model import PARTS, ImageSet
from harness.machine import confine
from harness.machine.config import MachineConfig
from harness.machine.machine import STDERR, Machine
from harness.plaintext import clean

MAP, BOOT = "memory-map.svg", "boot.svg"
"""Pictures of the run: the memory map with the allocation, and the boot's timeline."""
LEFT = ("transcript.txt", *(f"{name}.log" for name in (LOG, COMMANDS, STDERR)), MAP, BOOT)
"""What a machine leaves in its directory."""


@dataclasses.dataclass(frozen=True)
class System:
    """A system under test."""

    images: ImageSet
    memory_mib: int
    area: str
    """The CMA area that must hold the driver's memory."""

    @property
    def config(self) -> MachineConfig:
        """The machine that it runs on."""
        return MachineConfig(self.images, self.memory_mib)


def chosen(options: dict[str, Any]) -> System:
    """What `harness.cli.options.system` says. Builds what is not given.

    Raises `UserError` before anything is built where a file is not there or does not fit.
    """
    from harness.imageset.preflight import check, check_given, check_room, with_given

    given: dict[str, Path] = {name: options[name] for name in PARTS if options.get(name)}
    kernel: str | Path | None = given.pop("kernel", None)
    if isinstance(kernel, Path) and kernel.is_file():
        given, kernel = {"kernel": kernel, **given}, None
    for name, path in given.items():
        if not path.is_file():
            raise UserError(f"--{name} {path}: no such file")
    source: Path | None = options.get("dts")
    if source is not None and not source.is_file():
        raise UserError(f"--dts {source}: no such file")
    if source is not None and ("dtb" in given or options["biscuitos"]):
        raise UserError("--dts is for a system that is built: give --dtb, or --dts alone")
    check_given(given)
    memory = options["memory"]
    if options["unpatched"] and (options["biscuitos"] or "kernel" in given):
        raise UserError("--unpatched is for a kernel that is built; one that is given is as it is")
    if options["variant"] and (options["biscuitos"] or "kernel" in given or options["unpatched"]):
        raise UserError("--variant is for a kernel that is built, with what this project adds")
    if options["biscuitos"]:
        if kernel is not None:
            raise UserError("--biscuitos has a kernel of its own; --kernel with it takes a zImage")
        from harness.imageset.biscuitos import find

        tree = find(options["biscuitos"], given)
        say("\n".join(tree.said()))
        images = with_given(tree.image_set(), given)
        memory = memory or tree.memory_mib
    else:
        if "kernel" in given:
            from harness.builders.imageset import nearest_version

            kernel = nearest_version(given["kernel"])
        built = build(
            kernel,
            unpatched=options["unpatched"],
            variant=options["variant"] or "",
            config=options.get("config", ()),
        )
        if source is not None:
            from harness.builders.own import Builds

            given["dtb"] = Builds(built).device_tree(source)
        images = with_given(built, given)
    if options["append"]:
        images = dataclasses.replace(images, append=f"{images.append} {options['append']}")
    check(images, options["area"], images.append)
    check_room(images, options["area"], memory or DEFAULT_MEMORY)
    if less := confine.remark():
        say(less)
    return System(images, memory or DEFAULT_MEMORY, options["area"])


def given(manifest: Path, options: dict[str, Any]) -> System:
    """The system of an image set's manifest (`ImageSet.write`). Raises `UserError`."""
    if any(options.get(name) for name in (*PARTS, "dts", "biscuitos", "unpatched", "append")):
        raise click.UsageError("--image-set names all that is booted: give no part besides")
    images = ImageSet.read(manifest)
    return System(images, options["memory"] or DEFAULT_MEMORY, options["area"])


def build(
    kernel: str | Path | None,
    *,
    unpatched: bool = False,
    variant: str = "",
    config: Sequence[Path] = (),
) -> ImageSet:
    """The image set of a kernel, built or from the cache; `unpatched`: without our additions;
    `variant`: one that checks itself (``images/kernel/variants``); `config`: more kernel options.

    Raises `UserError` for a zImage.
    """
    from harness.builders import imageset

    if isinstance(kernel, Path) and not kernel.is_dir():
        raise UserError(f"--kernel {kernel}: a version or a kernel tree is needed here")
    if unpatched and config:
        raise UserError("--unpatched and --config: give one of them")
    if unpatched:
        return imageset.build_unpatched(kernel)
    from harness.builders.kernel import Recipe

    recipe = Recipe.ours().with_fragments(config)
    return imageset.build_image_set(kernel, recipe=recipe, variant=variant)


def pristine(
    system: System,
    artifacts: Path,
    say: Callable[[str], None],
    live: IO[str] | None = None,
    gdb: IO[str] | None = None,
) -> Machine:
    """A running machine that nobody has used: a clone of the cached template, or booted where
    cloning fails, which is said. `artifacts` is claimed.
    """
    from harness.builders.cache import cache_root
    from harness.guest.ssh.service import warm
    from harness.host.output import claim, set_aside
    from harness.machine.template import TemplateStore

    claim(artifacts)
    set_aside(artifacts, LEFT)
    store = TemplateStore(cache_root() / "templates", warm)
    try:
        with waiting("starting a guest"):
            return store.get(system.config, say=say).clone(artifacts, live, gdb=gdb)
    except UserError:
        raise
    except HarnessError as error:
        say(f"cloning failed, booting instead: {error}")
    machine = Machine(system.config, artifacts, live, gdb=gdb)
    try:
        machine.start()
        machine.open()
    except BaseException:
        machine.close()
        raise
    return machine


def say(text: str) -> None:
    """A line for the user, beside the command's output."""
    if not Quiet.wanted:
        click.echo(clean(text), err=True)
