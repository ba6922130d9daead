# SPDX-License-Identifier: MIT
"""Registers the plugin; nothing else."""

pytest_plugins = ["harness.pytest_plugin"]
