# SPDX-License-Identifier: MIT
"""``harness explore``: random sequences of operations, on a model and on guests.

Exit status: 0 no difference, 1 a guest differs from the model, 2 bad input, 3 infrastructure.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.engine.choose import ClusterChoice


@click.command(
    epilog="Exit status: 0 no difference, 1 a difference, 2 bad input, 3 infrastructure."
)
@options.system
@click.option(
    "--minutes",
    metavar="N",
    type=options.FloatRange(0.01, options.MANY),
    default=5,
    show_default=True,
    help="How long to look.",
)
@click.option("--seed", metavar="S", type=options.SEED, help="Of the sequences (it is printed).")
@click.option("--replay", metavar="FILE", type=options.PATH, help="Run the sequence of a file.")
@click.option(
    "--processors",
    metavar="N",
    type=click.IntRange(1, 4),
    default=1,
    show_default=True,
    help="Processors of the guests.",
)
@options.jobs("Processes that look at once.")
@options.cluster
@options.output("Where sequences that were found go (default: artifacts/explore).")
@options.as_json("Print the figures as JSON.")
@options.debug
@click.pass_context
def command(
    context: click.Context,
    /,
    minutes: float,
    seed: int | None,
    replay: Path | None,
    processors: int,
    jobs: int,
    cluster: ClusterChoice,
    output: Path | None,
    as_json: bool,
    **system: Any,
) -> int:
    """Look for sequences of operations on which a guest differs from the model of CMA.

    The shortest sequence that still differs is written as a file, which --replay runs; what was
    found is tried first the next time.
    """
    from harness.cli.systems import chosen
    from harness.explore.sequence import read
    from harness.host.output import claim
    from harness.host.programs import check_installed
    from harness.host.project import ARTIFACTS

    if replay is not None:
        typed = click.core.ParameterSource.COMMANDLINE
        for name in ("minutes", "seed", "jobs", "cluster"):
            if context.get_parameter_source(name) is typed:
                raise click.UsageError(f"--{name} goes without --replay, which runs one sequence")
    found = None if replay is None else read(replay)
    check_installed()
    place = (output or ARTIFACTS / "explore").absolute()
    claim(place, shared=True)
    if found is not None:
        return _replay(_explorer(chosen(system), processors, place), found.operations, as_json)
    seed = random.randrange(1 << 16) if seed is None else seed
    if jobs > 1 or cluster.address:
        from harness.cli.explore_jobs import explore_jobs

        if not cluster.address:
            chosen(system)  # built once, before several look for it
        system = {"processors": processors, **system}
        return explore_jobs(jobs, minutes, seed, place, system, cluster, as_json)
    return _look(_explorer(chosen(system), processors, place), minutes * 60, seed, place, as_json)


def _explorer(system: Any, processors: int, place: Path) -> Any:
    from harness.builders.cache import cache_root
    from harness.cli.systems import say
    from harness.explore.guests import Explorer
    from harness.explore.setup import prepare
    from harness.guest.ssh.service import warm
    from harness.machine.template import TemplateStore

    store = TemplateStore(cache_root() / "templates", warm)
    machines = place / "machines"
    config = dataclasses.replace(system.config, processors=processors)
    setup = prepare(config, store, machines, say)
    return Explorer(store, setup, machines, say)


def _replay(explorer: Any, operations: Any, as_json: bool) -> int:
    from harness.errors import HarnessError, Verdict

    figures = {"length": len(operations)}
    try:
        explorer.run(operations)
    except HarnessError as error:
        if as_json and error.verdict is not Verdict.INFRASTRUCTURE:
            print(json.dumps(figures | {"difference": str(error)}, indent=2))
        raise
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        print(f"no difference in {len(operations)} operations")
    return 0


def _look(explorer: Any, seconds: float, seed: int, place: Path, as_json: bool) -> int:
    from harness.builders.cache import Cache
    from harness.cli.systems import say
    from harness.explore import kept
    from harness.explore.campaign import explore
    from harness.explore.model import effective
    from harness.explore.sequence import Found

    release = explorer.setup.config.images.release
    memory = Cache().directory(kept.DIRECTORY)
    before = list(kept.kept(memory))
    if before:
        say(f"{len(before)} sequences that were found once come first")
    say(f"exploring Linux {release} for {seconds:.0f} s with --seed {seed}")
    begun = time.monotonic()
    again = kept.first_to_differ(explorer.run, before)
    if again is not None:
        found: tuple[Any, Any] | None = (again[0].operations, again[1])
    else:
        found = explore(explorer.run, seconds, seed, place / "examples")
    took = time.monotonic() - begun
    figures = {
        "seed": seed,
        "seconds": round(took, 1),
        "kept": len(before),
        "sequences": explorer.sequences,
        "steps": explorer.steps,
        "steps_per_second": round(explorer.steps / took, 1),
        "clones_per_second": round(explorer.sequences / took, 2),
    }
    if found is not None:
        operations, error = effective(explorer.setup.model(), found[0]), found[1]
        sequence = Found(operations, release, str(error))
        sequence.write(memory)
        path = sequence.write(place)
        figures |= {"found": str(path), "difference": str(error), "length": len(operations)}
    if as_json:
        print(json.dumps(figures, indent=2))
    elif found is None:
        print(
            f"no difference: {explorer.sequences} sequences, {explorer.steps} steps"
            f" ({figures['steps_per_second']} a second), seed {seed}"
        )
    else:
        print(f"DIFFERENCE after {explorer.sequences} sequences: {figures['difference']}")
        for operation in operations:
            print(f"  {operation.name} {' '.join(map(str, operation.numbers))}".rstrip())
        print(f"again: harness explore --replay {figures['found']}")
    return 0 if found is None else 1
