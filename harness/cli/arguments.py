# SPDX-License-Identifier: MIT
"""Kinds of arguments that several commands take."""

from __future__ import annotations

import argparse
import re


def positive(text: str) -> int:
    """An argument that is a number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return value


def shard(text: str) -> tuple[int, int]:
    """An argument ``I/N``, I from 1 to N."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part[0] <= part[1]:
        raise argparse.ArgumentTypeError(f"{text}: expected I/N with I from 1 to N")
    return part
