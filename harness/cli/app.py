# SPDX-License-Identifier: MIT
"""The command ``harness`` as a whole: its subcommands, their help, and how they end.

Exit status: 0 passed, 1 the system under test is at fault, 2 the user's input cannot be used,
3 infrastructure (the build included), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.shell_completion import get_completion_class, shell_complete

from harness import __version__
from harness.cli.options import State
from harness.host.command import run_command

PROGRAM = "HARNESS_PROGRAM"
"""In the environment: the script that the user typed, which stands for one subcommand."""
COMPLETE = "_HARNESS_COMPLETE"
_WITHOUT_SETTINGS = ("init", "cp", "completion", "cache", "parse-log", "coverage")
"""Subcommands that nothing in ``harness.toml`` is for."""
COMMANDS = {
    "run": "Do the main job: build, boot, allocate, judge.",
    "test": "Run the test suite on QEMU; arguments go to pytest.",
    "shell": "Open a shell in a booted guest.",
    "cp": "Copy a file into or out of a guest that shell --name holds.",
    "gate": "Judge patches.",
    "check": "Judge one patch; lines as checkpatch writes them, for b4 and hooks.",
    "watch": "Judge what you edit, at each save.",
    "bisect": "Find the first bad commit of a kernel's git tree.",
    "nightly": "Run the whole matrix, merge shards, report.",
    "mutants": "Test the test suite with small faults.",
    "cluster": "Run scheduler and workers of a cluster; make its certificates.",
    "bench": "Measure against labgrid and plain pexpect.",
    "explore": "Look for sequences on which a guest differs from the model.",
    "coverage": "Print what no test executes.",
    "init": "Write a harness.toml, a first test and CI workflows into your repository.",
    "build": "Build the images only, and print their paths.",
    "cache": "Look at the cache, and free disk space.",
    "parse-log": "Judge a saved console log.",
    "completion": "Print the shell's completion script.",
}
"""Subcommands and what they are for. Each is in a module of its own, loaded when it is called."""


class Commands(click.Group):
    """The subcommands by name; for an unknown name it proposes the nearest one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Loads the module of a subcommand."""
        if cmd_name == "completion":
            return completion
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"harness.cli.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with a proposal for a name that is none."""
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            near = difflib.get_close_matches(name, COMMANDS, 2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of subcommands, without loading any of them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 passed, 1 the system under test is at fault, 2 the input cannot be used,"
    " 3 infrastructure (nothing is known of the system).",
)
@click.version_option(__version__, prog_name="harness")
def command() -> None:
    """Build, boot and judge an ARM32 system with several CMA areas."""


@click.command(help=COMMANDS["completion"])
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> int:
    """For the user's start-up file: ``eval "$(harness completion bash)"``."""
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(command, {}, "harness", COMPLETE).source())
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status. Errors are one message on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if instruction := os.environ.get(COMPLETE):
        return shell_complete(command, {}, "harness", COMPLETE, instruction)
    state = State()
    return run_command(
        lambda: invoke(words, state), lambda: traceback.print_exc() if state.debug else None
    )


def invoke(words: list[str], state: State) -> int:
    """Parses and calls; click's own errors are printed here, with exit status 2 (`State.usage`)."""
    try:
        chosen, program, rest = _chosen(words)
        settings = _settings(chosen, words)
        with chosen.make_context(program, rest, obj=state, default_map=settings) as context:
            result: Any = chosen.invoke(context)
            return int(result or 0)
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return state.usage if isinstance(error, click.UsageError) else error.exit_code


def _settings(chosen: click.Command, words: Sequence[str]) -> dict[str, Any]:
    """What ``harness.toml`` says for the subcommand that is called. Raises `UserError`."""
    # What follows -- is not ours: a guest's command.
    own = list(itertools.takewhile(lambda word: word != "--", words))
    name = next((word for word in own if word in COMMANDS), "")
    if not name or name in _WITHOUT_SETTINGS or {"-h", "--help"} & set(own):
        return {}
    from harness.cli.settings import defaults, given

    found = given(own, name, Path.cwd())
    called = command.get_command(click.Context(command), name) if found else None
    if called is None:
        return {}
    mapped = defaults(called, found)
    return {name: mapped} if chosen is command else mapped


def _chosen(words: list[str]) -> tuple[click.Command, str, list[str]]:
    """The command, what the user typed for it, and the rest of the words.

    A script of ``scripts/`` stands for its subcommand: the usage line shows the script.
    """
    script = os.environ.pop(PROGRAM, "")
    if script and words and words[0] in COMMANDS and words[0] == Path(script).name:
        found = command.get_command(click.Context(command), words[0])
        assert found is not None
        return found, script, words[1:]
    return command, "harness", words
