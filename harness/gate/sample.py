# SPDX-License-Identifier: MIT
"""One figure that was measured."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Sample:
    """A name, such as ``boot``; its unit, such as ``ms``; and the value."""

    name: str
    unit: str
    value: float
