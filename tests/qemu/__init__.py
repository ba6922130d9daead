# SPDX-License-Identifier: MIT
"""``python -m pytest`` puts the directory it is started in first: from ``tests`` this package is
``qemu`` then, and must not hide the library ``qemu.qmp``.
"""

from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
