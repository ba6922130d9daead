# SPDX-License-Identifier: MIT
"""``harness cluster``: certificates, scheduler and workers, and what is there.

Exit status: 0 done, 2 bad input, 3 infrastructure, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.cli import options
from harness.engine import address as addresses
from harness.engine import choose
from harness.errors import UserError
from harness.plaintext import clean

ADDRESS = click.argument("address", metavar="ADDRESS")


def _certificates(function: options.F) -> options.F:
    return click.option(
        "--certificates",
        metavar="DIR",
        type=options.PATH,
        help="The directory that `harness cluster certificates` made"
        f" (default: ${choose.CERTIFICATES}).",
    )(function)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Run a cluster that works for night, mutants, gate, bisect and explore."""


@command.command("certificates")
@click.argument("directory", metavar="DIR", type=options.PATH)
@options.debug
def certificates_command(directory: Path) -> int:
    """Make a CA and the certificate that scheduler, workers and clients share."""
    from harness.engine.security import CA_KEY, make_certificates

    for path in make_certificates(directory):
        print(path)
    print(
        f"copy the directory to each machine of the cluster (all but {CA_KEY}); whoever has it can"
        " run anything on the workers"
    )
    return 0


@command.command("scheduler")
@click.argument("address", metavar="[tls://]HOST:PORT")
@_certificates
@click.option(
    "--worker-timeout",
    metavar="SECONDS",
    type=options.FloatRange(1, options.MANY),
    help="A worker that was not heard of for so long is given up (default: 60).",
)
@options.debug
def scheduler_command(address: str, certificates: Path | None, worker_timeout: float | None) -> int:
    """Run the scheduler, which listens at an address of this machine (0.0.0.0: at all)."""
    addresses.require_dask()
    from harness.engine.connection import WORKER_SECONDS
    from harness.engine.serve import run_scheduler

    return run_scheduler(
        _whole(address), _place(certificates), _say, worker_timeout or WORKER_SECONDS
    )


@command.command("worker")
@click.argument("address", metavar="[tls://]HOST:PORT")
@_certificates
@click.option(
    "--guests",
    metavar="N",
    type=options.POSITIVE,
    default=options.CORES,
    help="Guests at once (default: as many as cores).",
)
@click.option(
    "--trees",
    metavar="N",
    type=options.POSITIVE,
    help="Kernel trees that are patched at once, 2 GB each (default: half of the guests).",
)
@click.option("--name", metavar="NAME", default="", help="In reports (default: the host's name).")
@options.cache_url
@options.unconfined
@options.debug
def worker_command(
    address: str, certificates: Path | None, guests: int, trees: int | None, name: str
) -> int:
    """Run a worker for the scheduler at an address; it waits for one that is not there."""
    addresses.require_dask()
    from harness.engine.serve import run_worker
    from harness.host.programs import check_installed

    check_installed()
    place = _place(certificates)
    patched = trees or max(1, guests // 2)
    return run_worker(_whole(address), place, guests, patched, name, _say)


@command.command("status")
@ADDRESS
@_certificates
@options.debug
def status_command(address: str, certificates: Path | None) -> int:
    """Print the workers of a cluster, and which are refused."""
    addresses.require_dask()
    address = _whole(address)
    from harness.engine.connection import Connection

    connection = Connection(addresses.check_address(address), _place(certificates))
    try:
        members = connection.members()
    finally:
        connection.close()
    for member in members:
        said = f"refused: {member.refused}" if member.refused else "can be used"
        print(f"{member.name:<24} {member.guests} guests  {member.trees} trees  {said}")
    usable = [member for member in members if not member.refused]
    guests = sum(member.guests for member in usable)
    print(f"{len(usable)} of {len(members)} workers can be used, for {guests} guests at once")
    return 0 if usable else 3


def _whole(address: str) -> str:
    """With the protocol, where it was left out. Raises `UserError` for ``local:N``."""
    if address.startswith("local:"):
        raise UserError(f"{address}: name a scheduler, HOST:PORT")
    return address if "://" in address else f"tls://{address}"


def _place(certificates: Path | None) -> Path | None:
    return choose.certificates_of(choose.ClusterChoice(certificates=certificates))


def _say(text: str) -> None:
    print(clean(text), file=sys.stderr, flush=True)
