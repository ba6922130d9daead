# SPDX-License-Identifier: MIT
"""Makes a system ready to be explored: reserved guards beside its areas, and where these are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from harness.errors import UserError
from harness.explore.areas import PAGE, AreaSpec
from harness.explore.ballast import has_room
from harness.explore.guests import Setup, guarded
from harness.guest.cma_state import CmaState
from harness.guest.guest import Guest
from harness.imageset.features import Feature
from harness.machine.config import MachineConfig
from harness.machine.template import TemplateStore
from harness.memory.model import CmaArea

NEEDED = (
    Feature.AGENT,
    Feature.CMA_DEBUGFS,
    Feature.MODULE_AREAS,
    Feature.APP_SCRIPT,
    Feature.TWO_AREAS,
)

SMALL = 192
"""MiB of RAM, at most: enough for both areas, and soon full."""


def prepare(
    config: MachineConfig, store: TemplateStore, artifacts: Path, say: Callable[[str], None]
) -> Setup:
    """The set-up of a machine that has the two areas side by side.

    Raises `UserError` for a system that lacks what the operations need.
    """
    missing = [feature.value for feature in NEEDED if feature not in config.images.features]
    if missing:
        raise UserError(f"this system cannot be explored: it lacks {', '.join(missing)}")
    pressure = Feature.PRESSURE in config.images.features
    if pressure:
        config = dataclasses.replace(config, memory_mib=min(config.memory_mib, SMALL))
    with store.get(config, say=say).clone(artifacts) as machine:
        guest = Guest(machine)
        memory_map = guest.memory_map()
        own, default = memory_map.area(guest.area), memory_map.area("linux,cma")
        directories = tuple(guest.debug_dir(a.name).rpartition("/")[2] for a in (own, default))
        state = guest.cma()
        pressure = pressure and has_room(guest)
        unload, load = guest.module_name(), f"{guest.module_path()} area={own.name}:default"
    areas = tuple(_spec(area, state) for area in (own, default))
    setup = Setup(config, areas, directories, state.counters, state.vmstat, unload, load, pressure)
    dtb = artifacts / "guarded.dtb"
    artifacts.mkdir(parents=True, exist_ok=True)
    dtb.write_bytes(guarded(config.images.dtb.read_bytes(), setup.guards))
    images = dataclasses.replace(config.images, dtb=dtb)
    return dataclasses.replace(setup, config=dataclasses.replace(config, images=images))


def _spec(area: CmaArea, state: CmaState) -> AreaSpec:
    start = area.range.start
    foreign = tuple(
        ((held.start - start) // PAGE, held.size // PAGE) for held in state.allocated(area.name)
    )
    return AreaSpec(area.name, start, area.range.size // PAGE, foreign)
