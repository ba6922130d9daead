# SPDX-License-Identifier: MIT
"""How many examples Hypothesis tries: fewer with ``HYPOTHESIS_PROFILE=check``.

Its plugin, which has an option for that, is off (``pytest.ini``).
"""

from __future__ import annotations

import os

# What other packages add to Hypothesis takes a quarter of a second to import, and is not used here.
os.environ.setdefault("HYPOTHESIS_NO_PLUGINS", "1")

from hypothesis import settings

# Tests that want more or less take a share of the profile's number: `settings().max_examples`.
settings.register_profile("check", max_examples=25)
if profile := os.environ.get("HYPOTHESIS_PROFILE"):
    settings.load_profile(profile)
