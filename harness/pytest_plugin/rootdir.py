# SPDX-License-Identifier: MIT
"""Keeps the values of the plugin's options from moving pytest's rootdir.

pytest looks for its ini-file before plugins are loaded. An option that it does not know yet has no
value then: ``--qemu-kernel /tmp/zImage`` counts as an option and a test path, so that rootdir is
``/tmp`` and ``pytest.ini`` is not read. Once the options are known, the search is done again.
"""

from __future__ import annotations

import pytest


def settle(config: pytest.Config, args: list[str]) -> None:
    """Finds rootdir and ini-file anew, and adds the ini-file's ``addopts`` to `args`.

    Raises `pytest.UsageError` where this pytest does not let that be done.
    """
    try:
        _settle(config, args)
    except (AttributeError, TypeError, ValueError, ImportError) as error:
        raise pytest.UsageError(
            f"pytest {pytest.__version__} takes an option's value for a test path ({error}): write"
            " --qemu-NAME=VALUE, with the equals sign"
        ) from None


def _settle(config: pytest.Config, args: list[str]) -> None:
    from _pytest.config.findpaths import determine_setup

    known = config.known_args_namespace
    if not any(word.startswith("--qemu-") and "=" not in word for word in args):
        return
    rootpath, inipath, inicfg, ignored = determine_setup(
        inifile=known.inifilename,
        override_ini=known.override_ini,
        args=known.file_or_dir,
        rootdir_cmd_arg=known.rootdir or None,
        invocation_dir=config.invocation_params.dir,
    )
    if (rootpath, inipath) == (config.rootpath, config.inipath):
        return
    config._rootpath, config._inipath = rootpath, inipath
    config._inicfg, config._ignored_config_files = inicfg, ignored
    config._inicache.clear()
    config._parser.extra_info |= {"rootdir": str(rootpath), "inifile": str(inipath)}
    args[:] = [*config.getini("addopts"), *args]
    config.known_args_namespace = config._parser.parse_known_args(args)
    config.known_args_namespace.confcutdir = str(inipath.parent if inipath else rootpath)
