# SPDX-License-Identifier: MIT
"""Runs many commands of the project, on this machine or on a cluster, by one small protocol.

`harness.engine.task` has the protocol; `local` and `dask` are the two engines; `choose` opens the
one that the user asked for.
"""
