# SPDX-License-Identifier: MIT
"""git on a repository that may be another user's."""

RUNS_NOTHING = (
    *("-c", "safe.directory=*"),
    *("-c", "core.fsmonitor=false"),
    *("-c", "core.hooksPath=/dev/null"),
)
"""Options: git takes it, and runs no program that it names to look at it or to compare."""
