"""A frozen stage made longer, because the stage that opens more parts after it broke a promise.

What is added is a stage of its own, so that everything that holds for stages holds for it: it is resumed, proved, and
told in reports and lineage. The plan with it is written to the run's folder, beside the plan that was asked for.
"""

from gradatim.errors import GuardError
from gradatim.plan import Plan, StageSource
from gradatim.plan.stage import Stage

TIMES = 3
"""How often the stages before one may be made longer."""
_ENDING = "-longer"


class OpenedTooEarlyError(GuardError):
    """A stage broke a promise, and its plan asks for a longer stage before it.

    Args:
        stage: name of the stage that was stopped.
        message: what was broken.
    """

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(message)
        self.stage = stage


def lengthened(plan: Plan, stage: str) -> Plan | None:
    """The plan with the stage before `stage` carried on once more for its own time; None after three times.

    What later stages take from it, they take from where it now ends.
    """
    at = [one.name for one in plan.stages].index(stage)
    before = plan.stages[at - 1]
    original, _, times = before.name.partition(_ENDING)
    count = int(times or 0) + 1
    if count > TIMES:
        return None
    added = before.model_copy(update={"name": f"{original}{_ENDING}{count}", "init": {}})
    later = tuple(_taking_from(one, before.name, added.name) for one in plan.stages[at:])
    return plan.model_copy(update={"stages": (*plan.stages[:at], added, *later)})


def _taking_from(stage: Stage, old: str, new: str) -> Stage:
    init = {
        part: source.model_copy(update={"stage": new})
        if isinstance(source, StageSource) and source.stage == old
        else source
        for part, source in stage.init.items()
    }
    return stage.model_copy(update={"init": init})
