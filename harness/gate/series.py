# SPDX-License-Identifier: MIT
"""Which mails of a thread are the patches to be judged: the newest version of the series."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from harness.errors import UserError
from harness.gate.mails import Mail, Version


@dataclasses.dataclass(frozen=True)
class Chosen:
    """The patches in their order, and a note on each mail that was left out or is missing."""

    patches: tuple[Mail, ...]
    notes: tuple[str, ...] = ()


def choose(mails: Sequence[Mail], name: str) -> Chosen:
    """The patches of the newest version, without answers, cover letters and older versions.

    Raises `UserError` where the mails are of two series, or the newest version is not whole while
    an older one is there.
    """
    with_diff = [mail for mail in mails if mail.has_diff and not mail.cover]
    patches = [mail for mail in with_diff if not _is_answer(mail, with_diff)] or with_diff
    left_out = [mail for mail in mails if mail not in patches]
    patches, again = _once(patches, name)
    newest = max((mail.version for mail in patches), default=Version())
    older = [mail for mail in patches if mail.version != newest]
    kept = [_numbered(mail, older) for mail in patches if mail.version == newest]
    notes = [f"{name}: left out {_what(mail)}: {mail}" for mail in left_out]
    notes += [f"{name}: left out a copy: {mail}" for mail in again]
    if older:
        _check_replaces(kept, older, mails, name)
        notes += [
            f"{name}: left out {mail.version}, which {newest} replaces: {mail}" for mail in older
        ]
    kept, lacking = _in_order(kept, name)
    if lacking and older:
        stay = _unchanged(kept, older)
        kept, missing = _in_order([*kept, *stay], name)
        if not stay or missing:
            raise UserError(
                f"{name}: {newest} of the series {lacking}, and does not answer the patches that"
                " it replaces; give its patches as files"
            )
        notes = [note for note in notes if not any(note.endswith(f": {mail}") for mail in stay)]
        notes += [f"{name}: {newest} {lacking}: taken as of {m.version}: {m}" for m in stay]
        lacking = ""
    if lacking and len(kept) > 1:
        notes.append(f"{name}: the series {lacking}")
    return Chosen(tuple(kept), tuple(notes))


def _is_answer(mail: Mail, others: Sequence[Mail]) -> bool:
    """Whether it answers a patch: by its subject, or it is not called a patch itself (as what
    maintainers' tools send when they have taken one).
    """
    if mail.reply or mail.tagged:
        return mail.reply
    tagged = {other.message_id for other in others if other.tagged and other is not mail} - {""}
    return bool(tagged & mail.references)


def _numbered(mail: Mail, older: Sequence[Mail]) -> Mail:
    """With the number of the patch that it answers and replaces, where it has none of its own."""
    same = {old.number for old in older if old.title == mail.title and old.number is not None}
    answers = any(old.message_id in mail.references for old in older if old.message_id)
    if mail.number is not None or len(same) != 1 or not answers:
        return mail
    return dataclasses.replace(mail, replaces=same.pop())


def _unchanged(kept: Sequence[Mail], older: Sequence[Mail]) -> list[Mail]:
    """The newest of the other patches, where only some were sent anew, each in answer to the one
    that it replaces; else none.
    """
    before = {mail.number: mail for mail in sorted(older, key=lambda mail: mail.version)}
    for mail in kept:
        answered = {old.message_id for old in older if old.number == mail.number} - {""}
        if mail.number is None or not answered & mail.references:
            return []
    new = {mail.number for mail in kept}
    return [mail for number, mail in before.items() if number is not None and number not in new]


def _what(mail: Mail) -> str:
    if mail.cover:
        return "the cover letter"
    if mail.has_diff:
        return "an answer with a diff"
    if mail.reply:
        return "an answer"
    return "a mail without a diff"


def _once(mails: Iterable[Mail], name: str) -> tuple[list[Mail], list[Mail]]:
    """Each patch once (lists and people send copies), and the copies."""
    seen: dict[tuple[object, ...], Mail] = {}
    copies: list[Mail] = []
    for mail in mails:
        key = (mail.version, mail.number, mail.title)
        first = seen.setdefault(key, mail)
        if first is mail:
            continue
        same_id = mail.message_id and mail.message_id == first.message_id
        if not same_id and mail.body.split() != first.body.split():
            raise UserError(
                f"{name}: mails {first.place} and {mail.place} are both {mail}, and differ: "
                "which one is meant?"
            )
        copies.append(mail)
    return list(seen.values()), copies


def _check_replaces(kept: list[Mail], older: list[Mail], mails: Sequence[Mail], name: str) -> None:
    """Whether the older patches are versions of the newest: by a title, or one thread."""
    titles = {mail.title for mail in kept}
    for version in sorted({mail.version for mail in older}):
        group = [mail for mail in older if mail.version == version]
        if titles & {mail.title for mail in group} or _one_thread(kept, group, mails):
            continue
        raise UserError(
            f"{name} holds two series, {group[0]} and {kept[0]}: put each into a file of its own"
        )


def _one_thread(one: list[Mail], other: list[Mail], mails: Sequence[Mail]) -> bool:
    """Whether a chain of references leads from one group to the other."""
    known = {identity for mail in one for identity in (mail.message_id, *mail.references)} - {""}
    for _ in mails:
        more = {
            identity
            for mail in mails
            if known & {mail.message_id, *mail.references}
            for identity in (mail.message_id, *mail.references)
        } - {""}
        if more <= known:
            break
        known |= more
    return any(known & {mail.message_id, *mail.references} for mail in other)


def _in_order(mails: list[Mail], name: str) -> tuple[list[Mail], str]:
    """By their numbers, where all have one; and in words which of the series are not there."""
    numbers = [mail.number for mail in mails]
    if None in numbers or not mails:
        return mails, ""
    totals = {number[1] for number in numbers if number}
    if len(totals) > 1 or len(set(numbers)) < len(numbers):
        first = mails[0]
        other = next(
            (m for m in mails if m.number and first.number and m.number[1] != first.number[1]),
            None,
        ) or next(m for m in mails if [n.number for n in mails].index(m.number) < mails.index(m))
        shown = f"{first} and {other}"
        raise UserError(f"{name} holds two series, {shown}: put each into a file of its own")
    have = {number[0] for number in numbers if number}
    missing = [str(n) for n in range(1, totals.pop() + 1) if n not in have]
    ordered = sorted(mails, key=lambda mail: mail.number or (0, 0))
    return ordered, f"lacks patch {', '.join(missing)}" if missing else ""
