"""What to do: plans, stages and their checks. Pure data; imports no torch."""

from gradatim.plan.checks import check
from gradatim.plan.findings import Finding, raise_all
from gradatim.plan.interpret import Interpreted, interpret
from gradatim.plan.overrides import override
from gradatim.plan.plan import Plan
from gradatim.plan.sources import (
    CheckpointSource,
    FileSource,
    HubSource,
    NamedSource,
    RunSource,
    Source,
    StageSource,
)
from gradatim.plan.stage import (
    Guards,
    Optimizer,
    PartTraining,
    Schedule,
    Stage,
    StageDefaults,
    Training,
    Update,
    Validation,
)
from gradatim.plan.text import Document, parse, read_document, write_yaml
from gradatim.plan.vocabulary import CallNames, Rule, Vocabulary

__all__ = [
    "CallNames",
    "CheckpointSource",
    "Document",
    "FileSource",
    "Finding",
    "Guards",
    "HubSource",
    "Interpreted",
    "NamedSource",
    "Optimizer",
    "PartTraining",
    "Plan",
    "Rule",
    "RunSource",
    "Schedule",
    "Source",
    "Stage",
    "StageDefaults",
    "StageSource",
    "Training",
    "Update",
    "Validation",
    "Vocabulary",
    "check",
    "interpret",
    "override",
    "parse",
    "raise_all",
    "read_document",
    "write_yaml",
]
