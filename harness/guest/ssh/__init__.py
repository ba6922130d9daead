# SPDX-License-Identifier: MIT
"""ssh into the guest: keys made for one machine, a pinned host key, a proved identity.

`service` is what a guest has; the other modules need paramiko, and are loaded at the first use.
"""
