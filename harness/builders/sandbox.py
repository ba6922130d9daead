# SPDX-License-Identifier: MIT
"""Runs the build of untrusted code where it can do no harm, and says what it has tried.

What confines it is `harness.host.confine`'s: nothing of the host can be read but its programs, and
nothing written but the directories of the build. A watcher ends it at its limits. Forking is faster
than any watcher, so it has a limit of the kernel's own: a control group, else RLIMIT_NPROC.
"""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.builders.watch import Limits, Watcher, process_group, process_limit, remove_group
from harness.errors import BuildError, HarnessError
from harness.host import confine, programs
from harness.host.confine import Confinement, Means, NoMeans
from harness.host.tool import unconfined_allowed
from harness.host.witness import Witness

_NICE = 10
_FILE_BYTES = 2**31
# What a shell says; where there is no control group, nobody else counts the refusals.
_REFUSED_FORK = "fork: Resource temporarily unavailable"


class Contained(BuildError):
    """The build tried what the sandbox forbids, or hit one of its limits. `what` is one line."""

    def __init__(self, what: str, detail: str = "") -> None:
        super().__init__(f"{what}\n{detail}".rstrip())
        self.what = what


class NoSandbox(HarnessError):
    """This host cannot confine a build."""


@dataclasses.dataclass(frozen=True)
class Sandbox:
    """Where commands of a build run. `writable` are absolute directories, and only these."""

    writable: tuple[Path, ...]
    limits: Limits

    @contextlib.contextmanager
    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str]
    ) -> Iterator[Running]:
        """Starts the command, and watches it until the block ends; nothing of it is left then.

        Of the environment it sees PATH and `environment` only: the caller's may hold secrets.
        Raises `UserError` where bubblewrap is not installed, `NoSandbox`.
        """
        how = check()
        if how.means is Means.BARE:
            self._require_passable()
        limits = {"RLIMIT_CORE": 0, "RLIMIT_FSIZE": _FILE_BYTES}
        group = process_group(self.limits.processes)
        if group is None:
            limits |= process_limit(self.limits.processes)
        program = confine.Program(
            tuple(command),
            cwd,
            self.writable,
            environment=environment,
            limits=limits,
            group=group and group / "cgroup.procs",
            nice=_NICE,
        )
        watcher = witness = None
        try:
            with confine.prepared(how, program) as (argv, passed, witness):
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    env=program.starter_variables,
                    process_group=0,
                    pass_fds=passed,
                )
            bare = how.means is Means.BARE
            watcher = Watcher(process, self.writable, self.limits, group, bare)
            watcher.start()
            yield Running(process, watcher, witness)
        finally:
            if watcher is not None:
                watcher.kill()
                watcher.stop()
                process.wait()
            if witness is not None:
                witness.end()
            remove_group(group)

    def _require_passable(self) -> None:
        for place in self.writable:
            barred = _barred(place)
            if barred is not None:
                raise NoSandbox(
                    f"builds run as uid {confine.other_uid()} here, which cannot get to {place}:"
                    f" {barred} is closed to it\nName another directory in HARNESS_CACHE, one that"
                    " all may pass through"
                )


@dataclasses.dataclass(frozen=True)
class Running:
    """A started command."""

    process: subprocess.Popen[bytes]
    _watcher: Watcher
    _witness: Witness | None

    def ended(self, status: int, output: str) -> None:
        """To be called at its end with its exit status and what it has printed.

        Raises `Contained` for what it must not do.
        """
        self._watcher.stop()
        tail = "\n".join(output.splitlines()[-5:])
        if self._watcher.why:
            raise Contained(self._watcher.why, tail)
        limits = self._watcher.limits
        if len(output) >= limits.output:
            raise Contained(f"it printed more than {limits.output >> 20} MiB")
        if status and _REFUSED_FORK in output:
            raise Contained(limits.too_many, tail)
        if self._witness is not None:
            self._witness.end()
        said = offences(self._witness.attempts if self._witness else (), output)
        if said:
            raise Contained(said[0], "\n".join(said[1:]))


def offences(attempts: Sequence[str], output: str) -> list[str]:
    """What a build did that it must not do, a line each: by what was seen of it, and, where that
    says nothing, by what its programs said.
    """
    if attempts:
        return list(attempts)
    refused = (line for line in output.splitlines() if "Read-only file system" in line)
    return [f"it tried to write outside its tree: {line[:200]}" for line in list(refused)[:3]]


def check() -> Confinement:
    """What builds are confined by on this host, found by doing it.

    Raises `NoSandbox` with what to do where nothing that would do works, `UserError` where
    bubblewrap is not installed.
    """
    programs.require("bwrap", "setpriv")
    try:
        return confine.find()
    except NoMeans as error:
        raise NoSandbox(
            f"untrusted code cannot be confined on this host:\n{error}\nA patch is untrusted code,"
            " and its build is run confined only. Any of these will do: unprivileged user"
            " namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone on"
            " Debian, kernel.apparmor_restrict_unprivileged_userns on Ubuntu; in a container, its"
            " seccomp profile); Landlock (Linux 5.13); root, who can become another user. For"
            " patches that you trust: --unconfined"
        ) from error


def enforced(limits: Limits) -> tuple[Limits | None, str]:
    """The limits for builds, None where they are not confined, for this host cannot and the user
    said so; and what is to be said where they have less than all.

    Raises as `check` does.
    """
    try:
        how = check()
    except NoSandbox:
        if not unconfined_allowed():
            raise
        return None, "the build was not confined: this host cannot, and --unconfined was given"
    if how.means is Means.NAMESPACES and how.asked:
        return limits, ""
    return limits, f"the build was confined by less than all: {how}"


def _barred(path: Path) -> Path | None:
    """The first directory on the way to `path` that the other uid cannot pass; None for none."""
    if confine.other_uid() is None:
        return None
    return next((p for p in reversed(path.parents) if not p.stat().st_mode & 0o001), None)
