# SPDX-License-Identifier: MIT
"""Every night the whole matrix: kernels, RAM sizes, tests, measurements, mutants, and a history.

``nightly.toml`` says what is run; ``scripts/nightly`` runs it, merges shards and reports.
"""
