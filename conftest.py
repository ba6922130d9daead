# SPDX-License-Identifier: MIT
"""Registers the plugin, and the tests' helper modules for pytest's rewriting of assertions."""

import pytest

pytest_plugins = ["harness.pytest_plugin"]
pytest.register_assert_rewrite("tests")
