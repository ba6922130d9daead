# SPDX-License-Identifier: MIT
"""Looks for what nobody thought of: random sequences of operations, on a model and on a guest.

The model (`harness.explore.model`) predicts every answer, every counter and every byte of the
areas; Hypothesis makes sequences and shrinks those on which a guest differs from it.
"""
