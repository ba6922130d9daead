# SPDX-License-Identifier: MIT
"""What pages for people share: one layout, one style sheet, escaping of all that was read."""
