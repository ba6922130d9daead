# SPDX-License-Identifier: MIT
"""``python -m harness.mutants``."""

from __future__ import annotations

import sys

from harness.mutants.cli import main

sys.exit(main())
