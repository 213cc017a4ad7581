"""The exceptions of gradatim, and the wording of a name that does not exist.

GradatimError            the command line prints its message and exits with 1
├── PlanError            a plan contradicts itself, or names something that does not exist
├── SystemDefinitionError  a system's steps, parts or losses do not fit together
├── WeightsError         arrays on disk and arrays in parts do not agree
│   └── FormatError      a file is not what its content says, or is damaged
├── DataError            samples are missing, unreadable or do not fit together
├── GuardError           a stage broke one of its promises and was stopped
├── RunError             a run's folder is missing, damaged or in use
└── MissingExtraError    an optional dependency is not installed
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GradatimError(Exception):
    """Base of every error that a user can cause; its message is meant for them."""


class PlanError(GradatimError):
    """The plan contradicts itself, or names something that does not exist."""


class SystemDefinitionError(GradatimError):
    """A system's steps, parts, losses or fields do not fit together."""


class WeightsError(GradatimError):
    """Arrays on disk and arrays in parts do not agree."""


class FormatError(WeightsError):
    """A file of weights is damaged, or not a file of weights."""


class DataError(GradatimError):
    """Samples are missing, unreadable, or do not fit together."""


class GuardError(GradatimError):
    """A stage broke one of its promises and was stopped."""


class RunError(GradatimError):
    """A run's folder is missing, damaged or in use."""


class MissingExtraError(GradatimError):
    """An optional dependency is not installed."""

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {module!r}, which is not installed: pip install 'gradatim[{extra}]'")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that was probably meant, if any comes near."""
    return next(iter(get_close_matches(name, sorted(known), n=1)), None)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Word the message for a name that does not exist, with the nearest one that does."""
    known = sorted(known)
    near = nearest(name, known)
    hint = f" Did you mean {near!r}?" if near is not None else ""
    return f"unknown {kind} {name!r}.{hint} Known: {', '.join(known) or 'none'}."


def problems(heading: str, lines: Iterable[str]) -> str:
    """Join all that is wrong into one message: a heading and one line for each problem."""
    return "\n".join([heading, *(f"  {line}" for line in lines)])
