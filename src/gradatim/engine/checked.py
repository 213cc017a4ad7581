"""Plans that passed every check."""

from dataclasses import replace

from gradatim.engine.build import settled, unknown_children
from gradatim.errors import PlanError
from gradatim.find import find_system
from gradatim.plan import Document, Finding, Plan, check, interpret, raise_all
from gradatim.runs.history import history_of
from gradatim.system import System


def checked_plan(document: Document, system: System | None = None) -> tuple[Plan, System, tuple[Finding, ...]]:
    """A plan that passed every check, resolved and settled, its system, and warnings.

    Raises:
        PlanError: with all that is wrong.
    """
    read = interpret(document)
    if system is None:
        name = read.plan.system if read.plan else ""
        try:
            system = find_system(name)
        except PlanError as error:
            raise_all(document, (*read.findings, Finding(("system",), str(error))))
            raise
    if read.plan is not None:
        read = replace(read, plan=system.filled(read.plan))
    findings = check(document, read, system.vocabulary, history_of(system.layouts))
    raise_all(document, findings)
    assert read.plan is not None
    plan = settled(system, read.plan.resolved())
    raise_all(document, tuple(unknown_children(system, plan)))
    return plan, system, tuple(finding for finding in findings if not finding.error)


def document_of(plan: Plan, name: str = "plan") -> Document:
    """A plan made in Python as a document, so that it is checked as a file is."""
    return Document(name=name, tree=plan.model_dump(mode="json", exclude_unset=True, by_alias=True))
