# SPDX-License-Identifier: MIT
"""What a QEMU can do, as it says itself: versions are not asked, distributions change them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Abilities:
    """Where QEMU's versions differ in what templates need."""

    state_to_file: bool
    """Device state goes to a file by ``file:`` (from 8.2 on). Before that ``fd:`` took a file too;
    from 11 on it takes pipes and sockets only.
    """
    private_rom: bool
    """RAM can be mapped privately from a file that is opened for reading only: the property
    ``rom`` of ``memory-backend-file`` (from 8.2 on).
    """

    @classmethod
    def of(cls, execute: Callable[..., Any]) -> Abilities:
        """Asks QEMU: `execute` runs a QMP command with its arguments."""
        schema = {entity["name"]: entity for entity in execute("query-qmp-schema")}
        properties = execute("qom-list-properties", typename="memory-backend-file")
        return cls(
            state_to_file="file" in _values(schema, "migrate"),
            private_rom=any(one["name"] == "rom" for one in properties),
        )


def _values(schema: Mapping[str, Any], name: str) -> set[str]:
    """All enumeration values below a command's arguments (QEMU ``docs/devel/qapi-code-gen.rst``,
    client introspection: the names of types say nothing).
    """
    found: set[str] = set()
    seen: set[str] = set()
    todo = [name]
    while todo:
        entity = schema.get(todo.pop(), {})
        if entity.get("name") in seen:
            continue
        seen.add(entity.get("name", ""))
        found |= set(entity.get("values", ()))
        todo += _below(entity)
    return found


def _below(entity: Mapping[str, Any]) -> Iterator[str]:
    """The types that a schema entity is made of."""
    if "arg-type" in entity:
        yield entity["arg-type"]
    if "element-type" in entity:
        yield entity["element-type"]
    for one in (*entity.get("members", ()), *entity.get("variants", ())):
        if isinstance(one, dict):  # of an enumeration the members are described elsewhere too
            yield from (one[key] for key in ("type",) if key in one)
