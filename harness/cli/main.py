# SPDX-License-Identifier: MIT
"""The command ``harness``: one command with subcommands; the scripts only call it.

Exit status: 0 passed, 1 the system under test is at fault, 2 the user's input cannot be used,
3 infrastructure (the build included), 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.board import DEFAULT_MEMORY
from harness.errors import UserError
from harness.host.command import run_command
from harness.imageset.model import PARTS, ImageSet

if TYPE_CHECKING:
    from harness.machine.template import TemplateStore

DEFAULT_AREA = "BiscuitOS_cma"
PRUNE_DAYS = 30.0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a subcommand; returns the exit status. Errors are one message on standard error."""
    options = _parser().parse_args(argv)
    return run_command(
        lambda: int(options.call(options)), traceback.print_exc if options.debug else None
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="harness",
        description="Builds, boots and judges an ARM32 system with several CMA areas.",
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--debug", action="store_true", help="show the traceback of an error")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", parents=[common], help="the main job: build, boot, judge"))
    build = commands.add_parser("build", parents=[common], help="build only, and print the paths")
    _add_sources(build)
    build.add_argument(
        "--update", action="store_true", help="ask apt for newer versions than the ones in use"
    )
    build.set_defaults(call=_build)
    cache = commands.add_parser("cache", help="look at the cache, and make room in it")
    _add_cache(cache.add_subparsers(title="commands", required=True, metavar="COMMAND"), common)
    return parser


def _add_sources(
    parser: argparse.ArgumentParser,
) -> argparse._MutuallyExclusiveGroup:
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--kernel-version", metavar="X.Y", help="Debian's linux-source-X.Y (default: 6.1)"
    )
    which.add_argument(
        "--kernel-source", metavar="DIR", type=Path, help="a kernel tree, 5.0 or later; only read"
    )
    return which


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_sources(parser).add_argument(
        "--biscuitos", metavar="DIR", type=Path, help="a BiscuitOS output tree, as it is; only read"
    )
    parser.add_argument(
        "--memory",
        metavar="MIB",
        type=_memory,
        help=f"the guest's RAM in MiB (default: {DEFAULT_MEMORY}, or the BiscuitOS tree's)",
    )
    parser.add_argument(
        "--area",
        metavar="NAME",
        default=DEFAULT_AREA,
        help="the CMA area that must hold the allocation (default: %(default)s)",
    )
    for name in PARTS:
        parser.add_argument(
            f"--{name}", metavar="FILE", type=Path, help=f"this {name} and not the built one"
        )
    parser.add_argument("--append", metavar="TEXT", help="more for the kernel command line")
    parser.add_argument(
        "--artifacts", metavar="DIR", type=Path, help="keep console, logs and results there"
    )
    parser.set_defaults(call=_run)


def _add_cache(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    common: argparse.ArgumentParser,
) -> None:
    show = commands.add_parser("ls", parents=[common], help="list what is there")
    show.set_defaults(call=_cache_ls)
    prune = commands.add_parser(
        "prune", parents=[common], help="remove what has not been used lately, never what is in use"
    )
    which = prune.add_mutually_exclusive_group()
    which.add_argument(
        "--older-than",
        metavar="DAYS",
        type=_days,
        help=f"not used for so many days (default: {PRUNE_DAYS:.0f})",
    )
    which.add_argument("--all", action="store_true", help="everything")
    prune.add_argument(
        "--keep-current", action="store_true", help="spare what the sources as they are now give"
    )
    prune.set_defaults(call=_cache_prune)


def _memory(text: str) -> int:
    value = int(text)
    if not 64 <= value <= 1024:
        raise argparse.ArgumentTypeError(f"{text}: vexpress-a9 takes 64 to 1024 MiB")
    return value


def _days(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text}: expected a number of days, 0 or more")
    return value


def _images(options: argparse.Namespace) -> ImageSet:
    from harness.builders.imageset import build_image_set

    return build_image_set(options.kernel_source or options.kernel_version)


def _run(options: argparse.Namespace) -> int:
    given = {name: getattr(options, name) for name in PARTS if getattr(options, name)}
    for name, path in given.items():
        if not path.is_file():
            raise UserError(f"--{name} {path}: no such file")
    from harness.imageset.preflight import with_given
    from harness.imageset.zimage import check_kernel

    if "kernel" in given:  # known to be none before anything is built
        check_kernel(given["kernel"])
    if options.biscuitos:
        from harness.imageset.biscuitos import find

        tree = find(options.biscuitos, given)
        print("\n".join(tree.said()), file=sys.stderr)
        images = with_given(tree.image_set(), given)
        options.memory = options.memory or tree.memory_mib
    else:
        images = with_given(_images(options), given)
    options.memory = options.memory or DEFAULT_MEMORY
    if options.append:
        images = dataclasses.replace(images, append=f"{images.append} {options.append}")
    from harness.cli.main_job import run

    return run(images, options)


def _build(options: argparse.Namespace) -> int:
    if options.update:
        from harness.builders.apt import unpin
        from harness.builders.cache import Cache

        unpin(Cache())
    images = _images(options)
    for field in dataclasses.fields(images):
        value = getattr(images, field.name)
        if isinstance(value, frozenset):
            value = " ".join(sorted(value))
        print(f"{field.name:<12}{value}")
    return 0


def _cache_ls(options: argparse.Namespace) -> int:
    from harness.builders.cache import Cache
    from harness.builders.patch_tree import kept_trees

    cache = Cache()
    entries = cache.ls()
    total = sum(entry.size for entry in entries)
    width = max((len(entry.slug) for entry in entries), default=0)
    for entry in entries:
        print(
            f"{entry.slug:<{width}}  {_mib(entry.size):>10}  made {_day(entry.created)}"
            f"  used {_day(entry.used)}"
        )
    templates = _templates(cache.root).unused()
    for path, size in templates:
        print(f"{'template-' + path.name:<{width}}  {_mib(size):>10}")
        total += size
    trees = kept_trees(cache)
    for tree in trees:
        name = f"tree-{tree.path.name}"
        print(f"{name:<{width}}  {_mib(tree.size):>10}  {'':<21}  used {_day(tree.used)}")
        total += tree.size
    print(f"{len(entries) + len(templates) + len(trees)} entries, {_mib(total)}, in {cache.root}")
    return 0


def _cache_prune(options: argparse.Namespace) -> int:
    from harness.builders.cache import Cache
    from harness.builders.patch_tree import kept_trees, remove_tree

    cache = Cache()
    keep: set[str] = set()
    if options.keep_current:
        from harness.builders.imageset import current_slugs

        keep = current_slugs(cache)
    days = PRUNE_DAYS if options.older_than is None else options.older_than
    # With --keep-current alone, what is not current goes whatever its age.
    any_age = options.all or (options.keep_current and options.older_than is None)
    removed, in_use = cache.prune(None if any_age else days * 86400, keep)
    if options.all and not keep and not in_use:
        cache.prune_help()
    freed = sum(entry.size for entry in removed)
    store = _templates(cache.root)
    templates = store.unused(None if any_age else days * 86400)
    for path, size in templates:
        store.remove(path)
        freed += size
    count = len(removed) + len(templates)
    for tree in kept_trees(cache):
        young = not any_age and time.time() - tree.used < days * 86400
        if young or tree.kernel in keep:
            continue
        if remove_tree(cache, tree):
            count += 1
            freed += tree.size
        else:
            print(f"left tree-{tree.path.name}: in use by another process")
    print(f"removed {count} entries, {_mib(freed)}, from {cache.root}")
    for entry in in_use:
        print(f"left {entry.slug}: in use by another process")
    return 0


def _templates(root: Path) -> TemplateStore:
    from harness.machine.template import TemplateStore

    return TemplateStore(root / "templates")


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
