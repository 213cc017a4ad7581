"""Findings about a plan, each with its place, and the one message that tells them all."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradatim.errors import PlanError
from gradatim.plan.text import Document, Place


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a plan, or, where `error` is false, worth a warning."""

    place: Place
    message: str
    error: bool = True


def raise_all(document: Document, findings: Sequence[Finding]) -> None:
    """Raise PlanError with every finding that is an error, in the order of the file."""
    wrong = sorted((finding for finding in findings if finding.error), key=lambda f: document.line(f.place))
    if wrong:
        lines = [f"{document.where(finding.place)}: {finding.message}" for finding in wrong]
        raise PlanError("\n".join(dict.fromkeys(lines)))
