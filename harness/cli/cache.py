# SPDX-License-Identifier: MIT
"""``harness cache``: what is kept, and how to free the disk of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import options

if TYPE_CHECKING:
    from harness.machine.template import TemplateStore

PRUNE_DAYS = 30.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at the cache, and free disk space."""


@command.command("ls")
@options.debug
def ls_command() -> int:
    """List what is there."""
    from harness.builders.cache import Cache
    from harness.builders.kept_trees import kept_trees

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


@command.command("prune")
@click.option(
    "--older-than",
    metavar="DAYS",
    type=options.FloatRange(0, options.MANY),
    help=f"Not used for so many days (default: {PRUNE_DAYS:.0f}).",
)
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--keep-current", is_flag=True, help="Spare what the sources as they are now give.")
@options.debug
def prune_command(older_than: float | None, everything: bool, keep_current: bool) -> int:
    """Remove what has not been used lately, never what is in use."""
    if everything and older_than is not None:
        raise click.UsageError("--all and --older-than: give one of them")
    from harness.builders.cache import Cache
    from harness.builders.kept_trees import kept_trees, remove_tree

    cache = Cache()
    keep: set[str] = set()
    if keep_current:
        from harness.builders.imageset import current_slugs

        keep = current_slugs(cache)
    # With --keep-current alone, what is not current goes whatever its age.
    any_age = everything or (keep_current and older_than is None)
    seconds = None if any_age else (PRUNE_DAYS if older_than is None else older_than) * 86400
    removed, in_use = cache.prune(seconds, keep)
    if everything and not keep and not in_use:
        cache.prune_help()
    freed = sum(entry.size for entry in removed)
    store = _templates(cache.root)
    templates = store.unused(seconds)
    for path, size in templates:
        store.remove(path)
        freed += size
    count = len(removed) + len(templates)
    for tree in kept_trees(cache):
        young = seconds is not None and time.time() - tree.used < seconds
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
