# SPDX-License-Identifier: MIT
"""The suite is tested itself: small faults must turn it red, harmless changes must not.

``tests/mutants/*.patch`` are the faults and the changes; ``scripts/mutants`` runs them.
"""
