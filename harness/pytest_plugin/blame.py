# SPDX-License-Identifier: MIT
"""Before the system is blamed for a failed test: what of this host's could be at fault instead."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from harness.builders.manifest import damaged_files
from harness.errors import Verdict
from harness.machine.errors import HostStalled
from harness.machine.machine import Machine
from harness.machine.template import META, damaged


def stalled(machines: Sequence[Machine]) -> str:
    """Why what machines showed proves nothing: this host stood still; empty where it did not."""
    reasons = list(dict.fromkeys(filter(None, (machine.disturbed() for machine in machines))))
    if not reasons:
        return ""
    verdict = HostStalled.verdict.value
    return f"{HostStalled.__name__} ({verdict}): this host stood still: {'; '.join(reasons)}"


def spoilt(machines: Sequence[Machine]) -> str:
    """Why it proves nothing: files of the cache that the machines ran from are not what they were
    when they were made. They are made again at the next use.
    """
    found = damaged_files({path for m in machines for path in m.config.images.files()})
    templates = {m.storage.state.parent for m in machines if m.storage.state is not None}
    for template in templates:
        # One that is gone was made anew meanwhile, for this very test.
        bad = damaged(template, wholly=True) if template.is_dir() else []
        if bad:
            with contextlib.suppress(OSError):
                (template / META).unlink()
        found += [f"template {template.name}: {name}" for name in bad]
    if not found:
        return ""
    verdict = Verdict.INFRASTRUCTURE.value
    return f"DamagedCache ({verdict}): it is made again at the next use: {', '.join(found)}"
