# SPDX-License-Identifier: MIT
"""A Sphinx extension: reference pages made from the code each time the site is built.

A line ``<!-- from the code: NAME -->`` in a page is replaced by what the function `PARTS` [NAME]
gives, so that a page never says what the code no longer does.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness import pytest_plugin
from harness.cli.app import COMMANDS
from harness.cli.app import command as whole
from harness.cli.settings import Common, Gate, Settings
from harness.errors import HarnessError
from harness.guest.guest import Guest
from harness.imageset.features import NEEDS, Feature
from harness.pytest_plugin import options
from harness.pytest_plugin.marks import MARKS

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKER = re.compile(r"^<!-- from the code: ([\w-]+) -->$", re.MULTILINE)
FORMATS = (
    ("`manifest.json` of an image set", "harness.imageset.model", "ImageSet"),
    ("the gate's `result.json`", "harness.gate.report.as_json", ""),
    ("the gate's `junit.xml`", "harness.gate.report.junit", ""),
    ("`kcidb.json`", "harness.testrun.kcidb", ""),
    ("`results.ktap`, `--ktap FILE`", "harness.testrun.ktap", ""),
    ("`coverage.json`", "harness.coverage.record", ""),
    ("`coverage.info`, `coverage.xml`", "harness.coverage.formats", ""),
    ("`nightly.toml`", "harness.nightly.matrix", ""),
    ("`nightly.sqlite`", "harness.nightly.database", ""),
    ("a sequence of `harness explore`", "harness.explore.sequence", ""),
    ("a mutant's patch", "harness.mutants.patchfile", ""),
    ("a transcript", "harness.machine.transcript", ""),
)
"""What is written or read, and the module (or its class) whose docstring describes it."""
ERRORS = ("harness.errors", "harness.machine.errors", "harness.memory.errors")
"""The modules of errors that a test can meet."""


def commands() -> str:
    """Every subcommand with its options."""
    context = click.Context(whole, info_name="harness")
    found = (part for name in COMMANDS for part in _command(name, context, 2))
    return "\n".join(found)


def _command(name: str, parent: click.Context, level: int) -> Iterator[str]:
    group = parent.command
    assert isinstance(group, click.Group)
    command = group.get_command(parent, name)
    assert command is not None, name
    context = click.Context(command, info_name=name, parent=parent)
    yield f"{'#' * level} `{context.command_path}`\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\n{context.command_path} {usage}\n```\n"
    yield f"{_prose(inspect.cleandoc(command.help or ''))}\n"
    rows = [_option(parameter, context) for parameter in command.params]
    if shown := [row for row in rows if row]:
        yield _table(("option", ""), shown)
    if command.epilog:
        yield f"{_prose(command.epilog)}\n"
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            yield from _command(sub, context, level + 1)


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if not isinstance(parameter, click.Option) or record is None:
        return None
    return f"`{record[0]}`", _prose(record[1])


def plugin_options() -> str:
    """pytest's options of the plugin, and what they are called in ``pytest.ini``."""
    rows = []
    for option in (*options.VALUES, *options.FLAGS):
        shown = f"`--qemu-{option.name}{' ' if option.meta else ''}{option.meta}`"
        default = f" Default: `{option.default}`." if option.default not in ("", "false") else ""
        rows.append((shown, f"`{option.ini}`", f"{_prose(option.help)}.{default}"))
    rows.append(
        (
            "`--qemu-ktap COMMAND`",
            "`qemu_ktap`",
            "a command in the guest that prints KTAP"
            " (may be repeated; in `pytest.ini` one a line).",
        )
    )
    rows.append(("`--ktap FILE`", "", "write all results to FILE as KTAP."))
    return _table(("option", "in `pytest.ini`", ""), rows)


def fixtures() -> str:
    """The plugin's fixtures with their docstrings."""
    parts = []
    for name in pytest_plugin.__all__:
        found = getattr(pytest_plugin, name)
        function = found._get_wrapped_function()
        kind = inspect.signature(function).return_annotation
        scope = found._fixture_function_marker.scope
        parts.append(f"`{name}` ({kind}; one for each {scope})\n: {_indented(function.__doc__)}\n")
    return "\n".join(parts)


def guest() -> str:
    """What a ``Guest`` offers: its public methods and properties with their docstrings."""
    parts = []
    for name, found in vars(Guest).items():
        function = found.fget if isinstance(found, property) else found
        if name.startswith("_") or not inspect.isfunction(function):
            continue
        words = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
        words = re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", words)
        head = f"{name}{'' if isinstance(found, property) else words.replace(chr(39), '')}"
        parts.append(f"`{head}`\n: {_indented(function.__doc__)}\n")
    return "\n".join(parts)


def settings() -> str:
    """The keys of ``harness.toml``."""
    rows = [
        (f"`{table}{name.replace('_', '-')}`", _prose(field.description))
        for table, model in (("", Settings), ("[gate] ", Gate))
        for name, field in model.model_fields.items()
        if field.description and (not table or name not in Common.model_fields)
    ]
    return _table(("key", ""), rows)


def marks() -> str:
    """The plugin's marks as ``pytest --markers`` has them."""
    rows = []
    for line in MARKS:
        name, _, what = line.partition("): ") if "(" in line.split(":")[0] else line.partition(": ")
        rows.append((f"`{name}{')' if '(' in name else ''}`", _prose(what)))
    return _table(("mark", ""), rows)


def features() -> str:
    """What ``needs`` can name."""
    return _table(
        ("feature", "what a system needs for it", "looked for in"),
        [(f"`{name}`", NEEDS[name].wanted, NEEDS[name].part) for name in sorted(Feature)],
    )


def verdicts() -> str:
    """The verdicts with the comments of their enumeration."""
    rows = [(f"`{value}`", text) for value, text in _members("harness.errors", "Verdict")]
    return _table(("verdict", ""), rows)


def decisions() -> str:
    """The gate's decisions, in the order of their exit statuses."""
    found = _members("harness.gate.result", "Decision")
    rows = [(str(n), f"`{value}`", text) for n, (value, text) in enumerate(found)]
    return _table(("exit status", "decision", ""), rows)


def errors() -> str:
    """The family of errors that the harness raises."""
    rows = []
    for name in ERRORS:
        for _, found in inspect.getmembers(importlib.import_module(name), inspect.isclass):
            if found.__module__ == name and issubclass(found, HarnessError):
                verdict = f"`{found.verdict.value}`"
                text = _prose((inspect.getdoc(found) or "").partition("\n\n")[0])
                rows.append((f"`{found.__name__}`", f"`{name}`", verdict, text))
    return _table(("error", "module", "verdict", ""), rows)


def formats() -> str:
    """What the modules that write or read a format say of it."""
    parts = []
    for title, name, member in FORMATS:
        module = importlib.import_module(name)
        text = inspect.getdoc(getattr(module, member) if member else module) or ""
        parts.append(f"## {title}\n\n```{{eval-rst}}\n{text}\n```\n\n(`{name}`)\n")
    return "\n".join(parts)


def _members(module: str, name: str) -> list[tuple[str, str]]:
    """Value and comment of each member of an enumeration: the comment is the string below it."""
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    (found,) = (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name)
    members: list[tuple[str, str]] = []
    for node in found.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            members.append((str(node.value.value), ""))
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and members:
            members[-1] = (members[-1][0], _prose(inspect.cleandoc(str(node.value.value))))
    return members


def _prose(text: str) -> str:
    """reStructuredText's ``code`` and `names` as Markdown; a paragraph is one line."""
    joined = re.sub(r"[ \t]*\n[ \t]*(?=\S)", " ", re.sub(r"\n\s*\n", "\0", text.strip()))
    plain = re.sub(r"``([^`]+)``", r"`\1`", joined.replace("\b", ""))
    # Angle brackets outside of code would be HTML.
    parts = re.split(r"(`[^`]*`)", plain)
    escaped = (p if p.startswith("`") else re.sub(r"([<*_|])", r"\\\1", p) for p in parts)
    return "".join(escaped).replace("\0", "\n\n")


def _indented(text: str | None) -> str:
    return _prose(inspect.cleandoc(text or "")).replace("\n\n", "\n\n  ")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    cells = ((re.sub(r"(?<!\\)\|", r"\\|", c).replace("\n\n", " ") for c in row) for row in lines)
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "plugin-options": plugin_options,
    "fixtures": fixtures,
    "guest": guest,
    "settings": settings,
    "marks": marks,
    "features": features,
    "verdicts": verdicts,
    "decisions": decisions,
    "errors": errors,
    "formats": formats,
}


def expand(text: str) -> str:
    """A page with its marked lines replaced. Raises `KeyError` for a part that there is not."""
    return MARKER.sub(lambda match: PARTS[match[1]](), text)


def _read(app: Sphinx, name: str, source: list[str]) -> None:
    source[0] = expand(source[0])


def setup(app: Sphinx) -> dict[str, object]:
    """Called by Sphinx."""
    app.connect("source-read", _read)
    # Made from the code: pages are read anew each time.
    app.connect(
        "env-get-outdated", lambda *_: [p.stem for p in Path(app.srcdir).glob("reference/*.md")]
    )
    return {"parallel_read_safe": True}
