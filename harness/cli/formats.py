# SPDX-License-Identifier: MIT
"""Options for results in the formats that other tools read: KCIDB, KTAP, Patchwork's checks."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli import options
from harness.errors import HarnessError, UserError
from harness.host.output import check_file, save
from harness.plaintext import line
from harness.testrun import kcidb

KCIDB_TOKEN, PATCHWORK_TOKEN = "HARNESS_KCIDB_TOKEN", "HARNESS_PATCHWORK_TOKEN"
"""In the environment: what a submission is authorized by. A command line can be seen by others."""
ORIGIN = "vexpress_cma"
KCIDB_HEADS = ('{\n "version": {\n  "major"',)
KTAP_HEADS = ("KTAP version", "TAP version")
CHECK_HEADS = ('{\n "state"',)
_INFRASTRUCTURE = 3


@dataclasses.dataclass(frozen=True)
class Formats:
    """Where results go, beside what a command always writes."""

    kcidb: Path | None = None
    kcidb_origin: str = ORIGIN
    kcidb_submit: str = ""
    ktap: Path | None = None
    patchwork_check: Path | None = None
    patchwork_post: str = ""
    report_url: str = ""

    def check(self) -> None:
        """Raises `UserError` for what cannot be written or sent: before the work is done."""
        if not kcidb.ORIGIN.fullmatch(self.kcidb_origin):
            raise UserError(f"--kcidb-origin {self.kcidb_origin}: take a-z, 0-9 and _")
        files = (
            (self.kcidb, KCIDB_HEADS),
            (self.ktap, KTAP_HEADS),
            (self.patchwork_check, CHECK_HEADS),
        )
        for path, heads in files:
            if path is not None:
                check_file(path, heads)
        for url, option, name in (
            (self.kcidb_submit, "--kcidb-submit", KCIDB_TOKEN),
            (self.patchwork_post, "--patchwork-post", PATCHWORK_TOKEN),
        ):
            if url and not os.environ.get(name):
                raise UserError(f"{option} {url}: put the token into the environment, as {name}")
            if url:
                kcidb.check_submission(url, os.environ[name], option)

    def write(
        self,
        document: Callable[[str], Mapping[str, Any]],
        ktap: Callable[[], str],
        check: Mapping[str, str] | None = None,
    ) -> int:
        """Writes and sends what was asked for; 0, or 3 where something was not taken.

        `document` is given the origin.
        """
        if self.kcidb is not None:
            save(self.kcidb, _json(document(self.kcidb_origin)), KCIDB_HEADS)
        if self.ktap is not None:
            save(self.ktap, ktap(), KTAP_HEADS)
        if self.patchwork_check is not None and check is not None:
            save(self.patchwork_check, _json(check), CHECK_HEADS)
        sent = 0
        if self.kcidb_submit:
            sent |= _sent(document(self.kcidb_origin), self.kcidb_submit, KCIDB_TOKEN, "Bearer")
        if self.patchwork_post and check is not None:
            sent |= _sent(check, self.patchwork_post, PATCHWORK_TOKEN, "Token")
        return sent


def _json(content: Mapping[str, Any]) -> str:
    return json.dumps(content, indent=1) + "\n"


def _sent(content: Mapping[str, Any], url: str, name: str, scheme: str) -> int:
    try:
        said = kcidb.submit(content, url, os.environ.get(name, ""), scheme)
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return _INFRASTRUCTURE
    print(f"{url}: {line(said, 200) or 'taken'}", file=sys.stderr)
    return 0


def combined(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Several KCIDB documents as one."""
    found: dict[str, Any] = {"version": dict(kcidb.VERSION)}
    for kind in ("checkouts", "builds", "tests"):
        found[kind] = [item for document in documents for item in document[kind]]
    return found


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None:
        context.meta.setdefault(__name__, {})[parameter.name] = value


def chosen() -> Formats:
    """What the command line that runs now says, checked. Raises `UserError`."""
    formats = Formats(**click.get_current_context().meta.get(__name__, {}))
    formats.check()
    return formats


def _option(name: str, metavar: str, what: str) -> Callable[[options.F], options.F]:
    kind = options.OUTPUT if metavar == "FILE" else str
    return click.option(
        name, metavar=metavar, type=kind, expose_value=False, callback=_keep, help=what
    )


def formats(function: options.F) -> options.F:
    """``--kcidb``, ``--ktap`` and what belongs to them; a command asks `chosen`."""
    decorators = [
        _option("--kcidb", "FILE", "Write the results for KCIDB (schema 5.3)."),
        _option("--kcidb-origin", "NAME", f"The CI's name there (default: {ORIGIN})."),
        _option("--kcidb-submit", "URL", f"Send them there, with the token in ${KCIDB_TOKEN}."),
        _option("--ktap", "FILE", "Write the results as KTAP."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def patchwork(function: options.F) -> options.F:
    """``--patchwork-check`` and what belongs to it."""
    decorators = [
        _option("--patchwork-check", "FILE", "Write the verdict as a check of Patchwork's API."),
        _option(
            "--patchwork-post",
            "URL",
            f"Send it to .../api/patches/ID/checks/, with the token in ${PATCHWORK_TOKEN}.",
        ),
        _option("--report-url", "URL", "Where the report can be read: the check links to it."),
    ]
    for decorator in reversed(decorators):
        function = decorator(function)
    return function
