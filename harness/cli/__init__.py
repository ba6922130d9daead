# SPDX-License-Identifier: MIT
"""The command ``harness``, a file for each subcommand; `harness.cli.app` puts them together."""
