# SPDX-License-Identifier: MIT
"""What a QEMU says it can do. The schemas are cut down; their types have numbers for names."""

from __future__ import annotations

from typing import Any

import pytest

from harness.machine.abilities import Abilities

BEFORE: list[dict[str, Any]] = [
    {"name": "migrate", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
    {"name": "1", "meta-type": "object", "members": [{"name": "uri", "type": "str"}]},
    {"name": "str", "meta-type": "builtin", "json-type": "string"},
    {"name": "chardev-add", "meta-type": "command", "arg-type": "2"},
    {"name": "2", "meta-type": "object", "members": [{"name": "kind", "type": "3"}]},
    {"name": "3", "meta-type": "enum", "values": ["file", "socket"]},
]
SINCE_8_2: list[dict[str, Any]] = [
    {"name": "migrate", "meta-type": "command", "arg-type": "1", "ret-type": "0"},
    {
        "name": "1",
        "meta-type": "object",
        "members": [{"name": "uri", "type": "str"}, {"name": "channels", "type": "[4]"}],
    },
    {"name": "[4]", "meta-type": "array", "element-type": "4"},
    {"name": "4", "meta-type": "object", "members": [{"name": "addr", "type": "5"}]},
    {
        "name": "5",
        "meta-type": "object",
        "members": [{"name": "transport", "type": "6"}],
        "variants": [{"case": "file", "type": "7"}, {"case": "socket", "type": "4"}],
    },
    {
        "name": "6",
        "meta-type": "enum",
        "values": ["socket", "exec", "rdma", "file"],
        "members": [{"name": "socket"}, {"name": "file"}],
    },
    {"name": "7", "meta-type": "object", "members": [{"name": "filename", "type": "str"}]},
]


def qemu(schema: list[dict[str, Any]], *properties: str) -> Any:
    def execute(command: str, **arguments: object) -> list[dict[str, Any]]:
        if command == "query-qmp-schema":
            return schema
        assert (command, arguments) == (
            "qom-list-properties",
            {"typename": "memory-backend-file"},
        )
        return [{"name": name} for name in properties]

    return execute


@pytest.mark.parametrize(
    ("execute", "expected"),
    [
        (qemu(BEFORE, "share", "readonly"), Abilities(state_to_file=False, private_rom=False)),
        (qemu(SINCE_8_2, "readonly", "rom"), Abilities(state_to_file=True, private_rom=True)),
        (qemu([], "share"), Abilities(state_to_file=False, private_rom=False)),
    ],
)
def test_abilities(execute: Any, expected: Abilities) -> None:
    assert Abilities.of(execute) == expected
