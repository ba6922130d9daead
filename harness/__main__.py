# SPDX-License-Identifier: MIT
"""``python -m harness``, and the command ``harness``: an interrupt is one word from the start."""

import sys


def main() -> int:
    """Loads the command, which takes most of a second on a busy host, and calls it."""
    try:
        from harness.cli.app import main as command

        return command()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # `harness.host.command.INTERRUPTED`, which may not be there yet


if __name__ == "__main__":
    sys.exit(main())
