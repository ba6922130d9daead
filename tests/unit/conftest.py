# SPDX-License-Identifier: MIT
"""How many examples Hypothesis tries: fewer with ``--hypothesis-profile=check``."""

from __future__ import annotations

import os

# What other packages add to Hypothesis takes a quarter of a second to import, and is not used here.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

from hypothesis import settings

# Tests that want more or less take a share of the profile's number: `settings().max_examples`.
settings.register_profile("check", max_examples=25)
