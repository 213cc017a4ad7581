"""A plan of the toy system as text, and the one message that its checks give."""

from gradatim.errors import PlanError
from gradatim.plan import check, interpret, parse, raise_all
from toy import TOY

PLAN = """system: toy
stages:
  - name: fit
    task: fit
    init: {stem: fresh, body: fresh, head: fresh}
    train: [head]
    losses: {mse: 1}
    lr: 1e-4
    epochs: 2
"""
SECOND = "  - {name: two, task: fit, train: [head], losses: {mse: 1}, epochs: 1, %s}\n"


def changed(*changes, more=""):
    """The plan with parts of its text exchanged, (old, new), and lines appended."""
    text = PLAN
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text + more


def findings(text, system=TOY):
    document = parse(text, "plan.yaml")
    return document, check(document, interpret(document), system.vocabulary)


def told(text, system=TOY):
    """What the checks say of a plan, line by line without the file's name; empty for a good one."""
    document, found = findings(text, system)
    try:
        raise_all(document, found)
    except PlanError as error:
        lines = str(error).split("\n")
        assert all(line.startswith("plan.yaml") for line in lines), lines
        return [line.removeprefix("plan.yaml:") for line in lines]
    return []
