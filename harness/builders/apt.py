# SPDX-License-Identifier: MIT
"""Fetches packages through a private apt state: no root, and nothing changes on the machine.

The state (lists, cache, configuration) is in the cache: one for ARM's packages, and one for the
machine's own architecture, from which the kernels' sources come (they are in all lists; but ARM's
are the ones that a mirror may lack, or be late with). Formats: apt.conf(5), apt-get(8).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path

from harness.builders import sources_list
from harness.builders.cache import BuildDirectory, Cache, Key
from harness.builders.process import ToolRunner
from harness.builders.sources_list import Source
from harness.errors import BuildError, UserError
from harness.host import programs
from harness.host.locking import FileLock
from harness.host.process import capture

MIRROR = "HARNESS_ARM_MIRROR"
DEB_BYTES = 300 * 2**20
FRESH_SECONDS = 900.0

# Hooks of the machine (package caches of desktops, of containers) do not concern these downloads
# and would change the machine. `#clear` works only in a file that is read after the machine's own.
_CONFIGURATION = """\
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Post-Invoke;
APT::Architecture "{architecture}";
APT::Architectures {{ "{architecture}"; }};
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "2";
Dir::State "{root}/state";
Dir::State::Lists "{root}/state/lists";
Dir::State::status "{root}/state/status";
Dir::Cache "{root}/cache";
Dir::Etc::SourceList "{root}/sources.list";
Dir::Etc::SourceParts "{root}/sources.d";
"""


class PrivateApt:
    """apt with a state of its own in the cache, for ARM or for the machine's own architecture."""

    def __init__(self, cache: Cache, *, arm: bool = True) -> None:
        self._cache = cache
        self._arm = arm
        self.root = cache.directory("apt" if arm else "apt-native")

    def refresh(self) -> None:
        """Fetches the package lists if they are old; one that fails is left out and named.

        Raises `UserError` where the machine has no usable source, `BuildError` where all fail.
        """
        if self._is_fresh():
            return
        programs.require("apt-get", "apt-cache", "dpkg-deb")
        release = sources_list.os_release()
        mirror = os.environ.get(MIRROR, "")
        own = sources_list.distribution_sources(sources_list.read_sources(), release)
        if self._arm:
            sources = sources_list.for_arm(own, release, mirror)
        else:
            sources = sources_list.with_newer_kernels(own, release)
        if not sources:
            raise UserError(
                f"no apt source of {release.get('PRETTY_NAME', 'this system')} itself found in "
                f"{sources_list.APT}; the harness takes ARM packages and kernel sources from there"
            )
        with FileLock(self.root / "lock") as lock:
            lock.exclusive(lambda who: self._cache.say(f"waiting for {who}, which fetches lists"))
            if not self._is_fresh():
                what = "ARM" if self._arm else "kernel sources"
                self._cache.say(f"fetching package lists for {what}")
                self._update(sources)
                (self.root / "updated").touch()

    def _is_fresh(self) -> bool:
        with contextlib.suppress(OSError):
            return time.time() - (self.root / "updated").stat().st_mtime < FRESH_SECONDS
        return False

    def _update(self, sources: list[Source]) -> None:
        while True:
            self._configure(sources)
            status, output = self._apt("apt-get", "update")
            if status == 0:
                return
            broken = [source for source in sources if failed(source, output)]
            rest = [source for source in sources if source not in broken]
            if not broken or not rest:
                hint = f"(a mirror that has the architecture armhf can be named in {MIRROR})"
                raise BuildError(
                    f"apt could not fetch the package lists\n{apt_error(output)}"
                    + (f"\n{hint}" if self._arm else "")
                )
            names = ", ".join(f"{source.uri} {source.suite}" for source in broken)
            self._cache.say(f"going on without {names}: {apt_error(output)}")
            sources = rest

    def _configure(self, sources: list[Source]) -> None:
        for name in ("state/lists/partial", "cache/archives/partial", "sources.d"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        for name in ("state/status", "sources.list"):
            (self.root / name).touch()
        _, native, _ = capture(["dpkg", "--print-architecture"])
        architecture = "armhf" if self._arm else native.decode().strip()
        text = _CONFIGURATION.format(root=self.root, architecture=architecture)
        _write(self.root / "apt.conf", text)
        stanzas = "\n".join(source.stanza() for source in sources)
        _write(self.root / "sources.d" / "harness.sources", stanzas)

    def _apt(self, program: str, *words: str, cwd: Path | None = None) -> tuple[int, str]:
        argv = [program, "-q", "-c", str(self.root / "apt.conf"), *words]
        status, output, errors = capture(argv, cwd=cwd)
        return status, output.decode(errors="replace") + errors

    def candidate(self, package: str) -> str | None:
        """The newest version that the lists have of `package`; None where they have none."""
        self.refresh()
        _, output = self._apt("apt-cache", "show", "--no-all-versions", package)
        return shown_version(output, package)

    def names(self, prefix: str) -> list[str]:
        """All package names in the lists that begin with `prefix`."""
        self.refresh()
        _, output = self._apt("apt-cache", "pkgnames", prefix)
        return sorted(name for name in output.split() if name.startswith(prefix))

    def download(self, package: str, version: str, build_dir: BuildDirectory) -> None:
        """Puts the ``.deb`` into ``build_dir.out``. Raises `BuildError` with apt's first error."""
        self.refresh()
        self._cache.say(f"downloading {package} {version}")
        conf = str(self.root / "apt.conf")
        argv = ["apt-get", "-q", "-c", conf, "download", f"{package}={version}"]
        ToolRunner(build_dir).run(argv, f"downloading {package} {version}")
        # The name's colon of an epoch is written %3a.
        got = [path.name for path in build_dir.out.glob("*.deb")]
        if not any(name.startswith(f"{package}_") for name in got):
            raise BuildError(f"asked for {package} {version}, apt fetched {', '.join(got)}")


def _write(path: Path, text: str) -> None:
    """A new file in place of the old one, which another cache may share as a hard link."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def shown_version(output: str, package: str) -> str | None:
    """The version of `package` in what ``apt-cache show`` printed; None where it has none.

    apt 3 takes a name that no package has for a pattern, and shows packages of other names.
    """
    for paragraph in re.split(r"\n\s*\n", output):
        fields = dict(re.findall(r"(?m)^(Package|Version): (\S+)", paragraph))
        if fields.get("Package") == package and "Version" in fields:
            return str(fields["Version"])
    return None


def failed(source: Source, output: str) -> bool:
    """Whether apt's `output` says that fetching from `source` failed."""
    uri = re.escape(source.uri.rstrip("/"))
    suite = re.escape(source.suite)
    patterns = (
        rf"(?m)^[EW]: Failed to fetch {uri}/+dists/{suite}/",
        rf"(?m)^[EW]: .*'{uri}/? {suite} (In)?Release'",
        rf"(?m)^[EW]: .*{uri}/? {suite} InRelease",
    )
    return any(re.search(pattern, output) for pattern in patterns)


def apt_error(output: str) -> str:
    """apt's first error line, or its first warning, or its last line."""
    lines = output.splitlines()
    for start in ("E: ", "W: ", "Err:"):
        for line in lines:
            if line.startswith(start):
                return line
    return lines[-1] if lines else "apt said nothing"


def _pin_path(cache: Cache, package: str) -> Path:
    # An upgrade of the distribution starts anew.
    codename = sources_list.os_release().get("VERSION_CODENAME", "unknown")
    return cache.root / "pins" / f"{package}.{codename}.json"


def required_version(cache: Cache, package: str) -> str:
    """As `pinned_version`. Raises `UserError` where apt has none."""
    version = pinned_version(cache, package)
    if version is None:
        raise UserError(f"apt has no {package} for armhf here; name a mirror that has in {MIRROR}")
    return version


def pinned_version(cache: Cache, package: str, apt: PrivateApt | None = None) -> str | None:
    """The version of `package` that this cache works with: asked of apt once, then kept.

    So a warm run asks nobody, and tests do not change under the user. None where apt has none.
    `unpin` makes the next call ask again.
    """
    path = _pin_path(cache, package)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(path.read_text())["version"]
        if isinstance(kept, str):
            return kept
    if cache.offline:
        return None
    version = (apt or PrivateApt(cache)).candidate(package)
    if version is not None:
        pin(cache, package, version)
    return version


def pin(cache: Cache, package: str, version: str) -> None:
    """Has this cache work with this version from now on."""
    cache.directory("pins")
    path = _pin_path(cache, package)
    new = path.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps({"version": version}) + "\n")
    new.replace(path)


def unpin(cache: Cache) -> None:
    """Forgets all pinned versions: the next build takes what apt has then."""
    for name in ("apt", "apt-native"):
        (cache.root / name / "updated").unlink(missing_ok=True)
    for path in (cache.root / "pins").glob("*.json"):
        path.unlink(missing_ok=True)


def pinned(cache: Cache) -> dict[str, str]:
    """Package -> version for all pins."""
    found = {}
    for path in (cache.root / "pins").glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            package = path.name.removesuffix(".json").rpartition(".")[0]
            found[package] = str(json.loads(path.read_text())["version"])
    return found


def deb_key(package: str, version: str) -> Key:
    """Key of a downloaded package."""
    return Key(f"deb-{package}", {"package": package, "version": version})


def fetch(cache: Cache, package: str, version: str, apt: PrivateApt | None = None) -> Path:
    """The ``.deb`` of `package` in `version`, from the cache or downloaded.

    Raises `BuildError` where apt cannot get it; the pin is forgotten then: the version may be gone.
    """

    def build(build_dir: BuildDirectory) -> None:
        try:
            (apt or PrivateApt(cache)).download(package, version, build_dir)
        except BuildError:
            _pin_path(cache, package).unlink(missing_ok=True)
            raise

    entry = cache.entry(deb_key(package, version), build, needs=DEB_BYTES)
    return next(entry.glob("*.deb"))
