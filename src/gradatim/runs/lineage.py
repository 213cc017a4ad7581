"""Lineage: where a part's weights came from and every stage that they went through, with digests."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where weights were first taken from.

    Args:
        kind: `fresh`, `checkpoint`, `hub` or `run`.
        digest: of the part's arrays as taken.
        detail: file, file digest, layout, repository, revision, seed: whatever its kind has.
    """

    kind: str
    digest: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A stage that trained a part.

    Args:
        run: folder of the run.
        stage: its name.
        task: that it carried out.
        key: the stage's key.
        steps: optimizer steps taken.
        digest: of the part's arrays afterwards.
    """

    run: str
    stage: str
    key: str
    steps: int
    digest: str
    task: str = ""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The whole history of a part's weights.

    Args:
        part: its name.
        origin: where they came from.
        passages: the stages that trained it, in order.
        before: the history in the file that they were taken from, where that file tells one.
    """

    part: str
    origin: Origin
    passages: tuple[Passage, ...] = ()
    before: "Lineage | None" = None

    @property
    def digest(self) -> str:
        """Digest of the part's arrays now."""
        return self.passages[-1].digest if self.passages else self.origin.digest

    def trained(self, passage: Passage) -> "Lineage":
        """The history after one more stage."""
        return replace(self, passages=(*self.passages, passage))

    def to_json(self) -> dict[str, Any]:
        """For a file's header or `lineage.json`."""
        return {**asdict(self), "digest": self.digest}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Lineage":
        """What `to_json` wrote."""
        return cls(
            part=value["part"],
            origin=Origin(**value["origin"]),
            passages=tuple(Passage(**passage) for passage in value["passages"]),
            before=cls.from_json(value["before"]) if value.get("before") else None,
        )

    def lines(self) -> list[str]:
        """One line for the origin and one for each stage, the oldest first."""
        result = self.before.lines() if self.before else []
        # The whole account is for programs; its counts and exceptions are told.
        told = {key: value for key, value in self.origin.detail.items() if key != "account"}
        detail = ", ".join(f"{key} {value}" for key, value in told.items() if value not in (None, "", {}))
        result.append(f"{self.origin.kind}: {detail or '-'}  digest {self.origin.digest}")
        result += [
            f"-> stage {p.stage} of {p.run}{_told(p.task)}: {p.steps} steps, key {p.key}  digest {p.digest}"
            for p in self.passages
        ]
        return result


def _told(task: str) -> str:
    """The task, which files of before it was written down do not tell."""
    return f", task {task}" if task else ""
