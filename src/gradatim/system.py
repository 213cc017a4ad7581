"""A system: what one research system offers to the core, as values."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from gradatim.data.dataset import Dataset
from gradatim.errors import SystemDefinitionError, problems, unknown
from gradatim.plan.graph import kept_values
from gradatim.plan.plan import Plan, merged
from gradatim.plan.prepared import Prepared
from gradatim.plan.stage import Stage
from gradatim.plan.vocabulary import Rule, Vocabulary
from gradatim.task import MASK, Call, Task, read_call, read_tasks
from gradatim.weights.layout import Layout


@dataclass(frozen=True, kw_only=True)
class DataKind:
    """The data of a system.

    Args:
        settings: model of a stage's `data`.
        open: (settings, split) -> data set; the split is `train` or `validate`.
        fields: settings -> names that a sample holds.
        shapes: (data settings, model settings) -> shape of each field of one sample, for checks and
            estimates that need no data; a tensor on the meta device says its dtype too, a dict stands for a dict.
        varies: settings -> whether a training sample differs between epochs; for plans whose data are not there.
        defaults: (model settings, data as given) -> data with what follows from the model, such as sizes.
        check: (model settings, opened data, fields that a stage reads) -> what does not fit together, one sentence
            each.
        glance: as `open`, but quick: files need not be checked. For estimates.
        prepared: a file that a trained model makes for the data, where their settings say so.
    """

    settings: type[BaseModel]
    open: Callable[[Any, Any], Dataset]
    fields: Callable[[Any], tuple[str, ...]]
    shapes: Callable[[Any, Any], Mapping[str, Any]]
    varies: Callable[[Any], bool] = lambda settings: False
    glance: Callable[[Any, Any], Dataset] | None = None
    defaults: Callable[[Any, Mapping[str, Any]], Mapping[str, Any]] | None = None
    check: Callable[[Any, Dataset, Collection[str]], Iterable[str]] = lambda model, dataset, fields: ()
    prepared: Prepared | None = None


@dataclass(frozen=True)
class Metric:
    """A figure of merit.

    Args:
        function: of values, by argument name -> one number a sample (B,), or their mean; or, with `over`, whatever that
            needs of a batch.
        higher_is_better: which way is up.
        over: what the function gave for each batch, in order -> the figure of the whole set, for what is no mean over
            samples, such as an average precision.
    """

    function: Callable[..., Any]
    higher_is_better: bool = True
    over: Callable[[Sequence[Any]], float] | None = None


@dataclass(frozen=True, kw_only=True)
class System:
    """What one research system offers.

    Args:
        name: its folder's name.
        summary: one sentence, for `gradatim systems`.
        settings: model of a plan's `model`; all sizes are chosen in it.
        parts: builder of each part, settings -> module with fresh weights.
        tasks: steps of each task, functions decorated with `makes`.
        losses: functions of values, by argument name -> scalar.
        data: its data.
        metrics: for validation.
        layouts: tables of foreign checkpoints.
        fixed: settings that a part's weights were trained with and are wrong without, by part; files record them.
        sizes: (shapes by our array names, settings that are given) -> settings that a foreign file's shapes tell.
        told: (layout, fields beside a foreign file's arrays, shapes by our array names) -> settings that these tell.
        recipes: functions that return a published plan.
        rules: its own checks of a plan.
        pictures: values that are images, (B, 3, H, W) in [0, 1], for reports.
        coupled: settings -> parts whose results for a sample depend on the others of its batch; what they make is
            never kept as features.
        comparing: losses that compare the samples of a batch, and are not defined for one alone.

    Raises:
        SystemDefinitionError: steps, parts, losses and fields do not fit together.
    """

    name: str
    summary: str
    settings: type[BaseModel]
    parts: Mapping[str, Callable[[Any], nn.Module]]
    tasks: Mapping[str, Sequence[Callable[..., Any]]]
    losses: Mapping[str, Callable[..., Tensor]]
    data: DataKind
    fields: tuple[str, ...]
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    fixed: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sizes: Callable[[Mapping[str, tuple[int, ...]], Mapping[str, Any]], Mapping[str, Any]] | None = None
    told: Callable[[str, Mapping[str, Any], Mapping[str, tuple[int, ...]]], Mapping[str, Any]] | None = None
    recipes: Mapping[str, Callable[[], Plan]] = field(default_factory=dict)
    rules: Mapping[str, Rule] = field(default_factory=dict)
    pictures: tuple[str, ...] = ()
    coupled: Callable[[Any], Collection[str]] = lambda settings: ()
    comparing: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_losses(self.read_tasks)

    @cached_property
    def read_tasks(self) -> Mapping[str, Task]:
        """The tasks, their signatures read."""
        try:
            return read_tasks(self.tasks, self.parts, self.fields)
        except SystemDefinitionError as error:
            raise SystemDefinitionError(f"system {self.name!r}: {error}") from error

    def filled(self, plan: Plan) -> Plan:
        """A plan whose stages have data with what follows from its model; as it is where either is wrong."""
        if self.data.defaults is None:
            return plan
        shared = plan.defaults.data
        try:
            model = self.settings.model_validate(dict(plan.model))
            stages = tuple(
                stage.model_copy(update={"data": self.data.defaults(model, merged(shared, stage.data))})
                for stage in plan.stages
            )
        except (ValidationError, TypeError, AttributeError):
            return plan
        return plan.model_copy(update={"stages": stages})

    def offered(self, stage: Stage) -> tuple[str, ...]:
        """Fields that the samples of a stage's data hold."""
        return self.data.fields(self.data_settings(stage))

    def data_settings(self, stage: Stage) -> Any:
        """A stage's `data`, read as the settings of this system's data."""
        return self.data.settings.model_validate(dict(stage.data))

    def task_of(self, stage: Stage) -> Task:
        """A stage's task; values that its data hold already are not computed."""
        return self.read_tasks[stage.task].given(self.offered(stage))

    def wants(self, names: Iterable[str]) -> list[str]:
        """Values that losses and metrics of these names read, those that may be absent last."""
        calls = [self.read_losses[name] if name in self.read_losses else self.read_metrics[name] for name in names]
        needed = [value for call in calls for value in call.names.needs]
        return list(dict.fromkeys((*needed, *(value for call in calls for value in call.names.optional))))

    def kept(self, stage: Stage, names: Iterable[str], settings: Any) -> dict[str, tuple[str, ...]]:
        """Values of a stage's frozen prefix that can be kept as features, by step; see `kept_values`.

        Args:
            stage: resolved.
            names: losses and metrics that are computed.
            settings: of the model.
        """
        steps = self.task_of(stage).names
        return kept_values(steps, stage.trained(), self.wants(names), coupled=self.coupled(settings))

    @cached_property
    def read_losses(self) -> Mapping[str, Call]:
        """The losses, their signatures read."""
        return {name: read_call(function, self.parts, name) for name, function in self.losses.items()}

    @cached_property
    def read_metrics(self) -> Mapping[str, Call]:
        """The metrics, their signatures read."""
        return {name: read_call(metric.function, self.parts, name) for name, metric in self.metrics.items()}

    def higher_is_better(self, name: str) -> bool:
        """Which way a metric is up; losses are down."""
        return name in self.metrics and self.metrics[name].higher_is_better

    def _check_losses(self, tasks: Mapping[str, Task]) -> None:
        made = {name for task in tasks.values() for step in task.names for name in step.makes} | set(self.fields)
        wrong = [f"{name!r} is both a loss and a metric" for name in sorted(set(self.losses) & set(self.metrics))]
        for kind, calls in (("loss", self.read_losses), ("metric", self.read_metrics)):
            for name, call in calls.items():
                if call.names.parts:
                    wrong.append(f"{kind} {name!r} takes part {call.names.parts[0]!r}; parts are for steps")
                wrong += [f"{kind} {name!r}: {unknown('value', n, made)}" for n in call.names.needs if n not in made]
                nowhere = [n for n in call.names.optional if n not in made and n.removesuffix(MASK) not in made]
                wrong += [f"{kind} {name!r}: {unknown('value', n, made)}" for n in nowhere]
        if wrong:
            raise SystemDefinitionError(problems(f"system {self.name!r}:", wrong))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The names that plans are checked against."""
        return Vocabulary(
            system=self.name,
            parts=tuple(self.parts),
            tasks={name: task.names for name, task in self.read_tasks.items()},
            losses={name: call.names for name, call in self.read_losses.items()},
            metrics={name: call.names for name, call in self.read_metrics.items()},
            layouts=(*self.layouts, "gradatim"),
            settings=self.settings,
            data=self.data.settings,
            fields=self.data.fields,
            rules=self.rules,
            fixed=tuple(sorted(self._fixed_settings())),
            prepared=self.data.prepared,
        )

    def _fixed_settings(self) -> set[str]:
        demanded = {name for layout in self.layouts.values() for part in layout.requires.values() for name in part}
        return demanded | {name for names in self.fixed.values() for name in names}
