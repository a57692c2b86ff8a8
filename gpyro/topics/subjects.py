"""Subjects: what events are about. Case does not count."""

from __future__ import annotations

from typing import Final

MAX_SUBJECT: Final = 255
"""Characters in a subject: what a pattern costs at worst grows with the third power of it."""

MAX_TOGETHER: Final = 1000
"""Subjects, or patterns, in one call."""

_SHOWN: Final = 60


class SubjectError(ValueError):
    """Something is no subject, or no list of subjects."""


def subjects_of(subjects: object, what: str = "subject", most: int = MAX_TOGETHER) -> list[str]:
    """One text, or a list or tuple of texts, as a list; empty for what is empty.

    Args:
        subjects: what a program gave.
        what: what each of them is, for the text of errors.
        most: how many there may be.

    Raises:
        SubjectError: it is something else, or too many.
    """
    if isinstance(subjects, str):
        return [subjects] if subjects else []
    if not isinstance(subjects, list | tuple):
        if not subjects:
            return []
        raise SubjectError(f"a {what} is a string, and several are a list or tuple: not {type(subjects).__name__}")
    if len(subjects) > most:
        raise SubjectError(f"at most {most:,} {what}s in one call, not {len(subjects):,}")
    for number, subject in enumerate(subjects):
        if not isinstance(subject, str):
            raise SubjectError(f"{what} {number + 1} of {len(subjects)} is no string but {type(subject).__name__}")
        if not subject:
            raise SubjectError(f"{what} {number + 1} of {len(subjects)} is empty")
    return list(subjects)


def fold(subject: str) -> str:
    """A subject as it is compared.

    Raises:
        SubjectError: it is too long.
    """
    if len(subject) > MAX_SUBJECT:
        text = subject[:_SHOWN]
        raise SubjectError(f"the subject {text!r}... has {len(subject)} characters; {MAX_SUBJECT} are allowed")
    return compared(subject)


def compared(subject: str) -> str:
    """As `fold`, of any length."""
    folded = subject.lower()
    # `re` takes these two for letters of ASCII, where case does not count.
    return folded if folded.isascii() else folded.replace("\u017f", "s").replace("\u0131", "i")
