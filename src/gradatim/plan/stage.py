"""A stage: one training of chosen parts, with its losses, optimizer, schedule and guards."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from gradatim.plan.sources import Settings, Source


class PartTraining(Settings):
    """How one trained part differs from its stage; None takes the stage's value.

    Args:
        lr: learning rate of this part.
        weight_decay: weight decay of its arrays of two or more dimensions.
        layer_decay: factor on the learning rate from each block to the one before it.
    """

    lr: PositiveFloat | None = None
    weight_decay: NonNegativeFloat | None = None
    layer_decay: PositiveFloat | None = None


class AdamWSettings(Settings):
    """AdamW (Loshchilov and Hutter, 2019)."""

    betas: tuple[float, float] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8


class AdamSettings(AdamWSettings):
    """Adam (Kingma and Ba, 2015); weight decay is added to the gradient."""


class SGDSettings(Settings):
    """Stochastic gradient descent with momentum."""

    momentum: NonNegativeFloat = 0.9
    nesterov: bool = False


class _OneOf(Settings):
    """A choice written as its name, or as `{name: options}`."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _exactly_one(self) -> "_OneOf":
        if len(self.model_fields_set) != 1:
            raise ValueError(f"give exactly one of: {', '.join(type(self).model_fields)}")
        return self

    @property
    def name(self) -> str:
        """Name of the choice."""
        return next(iter(self.model_fields_set))

    @property
    def chosen(self) -> Any:
        """Options of the choice."""
        return getattr(self, self.name)


class Optimizer(_OneOf):
    """`adamw`, `adam` or `sgd`."""

    adamw: AdamWSettings | None = None
    adam: AdamSettings | None = None
    sgd: SGDSettings | None = None


class ConstantSchedule(Settings):
    """The same factor throughout, after `warmup` steps of linear growth."""

    warmup: NonNegativeInt = 0


class CosineSchedule(Settings):
    """Linear warm-up over `warmup` steps, then half a cosine down to `final` times the rate, or to the rate `least`.

    The larger of both counts. With `every: epoch` the rate stays the same through an epoch.
    """

    warmup: NonNegativeInt = 0
    final: NonNegativeFloat = 0.0
    least: NonNegativeFloat = 0.0
    every: Literal["step", "epoch"] = "step"


class EpochCosineSchedule(Settings):
    """The same rate through an epoch: `warmup` epochs of linear growth, then half a cosine down to the rate `least`.

    Keras' callbacks schedule in this way. Epoch e of the warm-up, counted from 1, has the factor
    start + (1 - start) e / warmup.
    """

    warmup: NonNegativeInt = 3
    start: NonNegativeFloat = 0.01
    least: NonNegativeFloat = 1e-7


class StepSchedule(Settings):
    """Multiply by `gamma` every `every` epochs, after `warmup` steps."""

    every: PositiveInt = 30
    gamma: PositiveFloat = 0.1
    warmup: NonNegativeInt = 0


class OneCycleSchedule(Settings):
    """Rise from lr/`start` to lr over the first `rise` of all steps, then fall to lr/`start`/`end`.

    By cosines, or straight where `anneal` is `linear`.
    """

    rise: float = Field(0.3, gt=0, lt=1)
    start: PositiveFloat = 25.0
    end: PositiveFloat = 1e4
    anneal: Literal["cosine", "linear"] = "cosine"


class PolynomialSchedule(Settings):
    """Fall from lr to the rate `least` over all steps, as (1 - share of the steps done) to the `power`."""

    power: PositiveFloat = 0.9
    least: NonNegativeFloat = 0.0
    warmup: NonNegativeInt = 0


class Schedule(_OneOf):
    """`constant`, `cosine`, `epoch_cosine`, `step`, `one_cycle` or `polynomial`: the rate's factor over the stage."""

    constant: ConstantSchedule | None = None
    cosine: CosineSchedule | None = None
    epoch_cosine: EpochCosineSchedule | None = None
    step: StepSchedule | None = None
    one_cycle: OneCycleSchedule | None = None
    polynomial: PolynomialSchedule | None = None


class Validation(Settings):
    """When and by what a stage is judged.

    Args:
        metric: a metric or a loss of the system.
        every: epochs between two validations; the last epoch is always judged.
        keep: weights that the stage ends with: the best judged ones, or the last.
        batch_size: samples at once; None takes the stage's.
    """

    metric: str
    every: PositiveInt = 1
    keep: Literal["best", "last"] = "best"
    batch_size: PositiveInt | None = None


class Band(Settings):
    """How far loss terms may go from where they were. Written as a number, the relative change, or as a mapping.

    Args:
        band: largest relative change, either way.
        terms: losses that are judged; empty: all.
        reference: `start`, the terms of the first steps, judged at every log; or `validation`, the terms of the
            validation set before the first step, judged at every validation.
        epochs: how many at the stage's start are judged; None: all.
    """

    band: PositiveFloat
    terms: tuple[str, ...] = ()
    reference: Literal["start", "validation"] = "start"
    epochs: PositiveInt | None = None

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, value: Any) -> Any:
        return value if isinstance(value, Mapping | cls) else {"band": value}


class Guards(Settings):
    """What a stage promises while it runs.

    Args:
        patience: validations without a better metric after which the stage ends early.
        loss_band: largest relative change of any loss term from its value at the stage's start, either way; see `Band`.
        spike: factor by which the total loss between two logs may exceed the lowest that was seen before.
        drift: largest relative L2 distance of a part's weights from where the stage began.
        then: what follows when `loss_band`, `spike` or `drift` is broken: `stop`; `lower_lr`, back to the last good
            state with half the learning rate; or `lengthen`, the stage before this one is carried on for its own time
            once more, and this one begins anew. Both three times at most.
        nonfinite: on a loss or weight that is not finite, go back to the last good state with half the
            learning rate (three times at most), or stop at once.
    """

    patience: PositiveInt | None = None
    loss_band: Band | None = None
    spike: Annotated[float, Field(gt=1)] | None = None
    drift: Mapping[str, PositiveFloat] = {}
    then: Literal["stop", "lower_lr", "lengthen"] = "stop"
    nonfinite: Literal["rollback", "stop"] = "rollback"


class Cache(Settings):
    """Whether values that no trained part has a share in are computed once and kept.

    Written as a word, `auto`, `off` or `required`, or as a mapping.

    Args:
        mode: `auto` keeps them wherever a sample is the same in every epoch and is seen twice; `required` refuses to
            train without; `off` computes them for every batch.
        views: augmented views of each sample to keep, where samples differ between epochs; epoch e reads
            view e mod `views`.
        dtype: in which numbers are kept, `float32`, `float16` or `bfloat16`; None: as they were computed.
    """

    mode: Literal["auto", "off", "required"] = "auto"
    views: PositiveInt | None = None
    dtype: Literal["float32", "float16", "bfloat16"] | None = None

    @model_validator(mode="before")
    @classmethod
    def _word_alone(cls, value: Any) -> Any:
        if isinstance(value, bool):
            value = "auto" if value else "off"
        return {"mode": value} if isinstance(value, str) else value

    @property
    def asked_for(self) -> bool:
        """Whether the plan says more than "where it pays"."""
        return self.mode == "required" or self.views is not None or self.dtype is not None


class Training(Settings):
    """What one optimizer does: the parts that it trains, by which losses, how fast.

    Args:
        train: parts that learn, a list or a mapping to what differs for each.
        losses: weight of each loss term, by the system's name for it.
        lr: learning rate of the parts that name none.
        weight_decay: on arrays of two or more dimensions; biases and norms are never decayed.
        clip: largest L2 norm of the gradient of all trained parts together; None does not clip.
    """

    train: Mapping[str, PartTraining] = {}
    losses: Mapping[str, float] = {}
    lr: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    optimizer: Optimizer = Optimizer(adamw=AdamWSettings())
    schedule: Schedule = Schedule(constant=ConstantSchedule())
    clip: PositiveFloat | None = None

    @field_validator("train", mode="before")
    @classmethod
    def _names_alone(cls, train: Any) -> Any:
        """Let `train` be a list of names, or one name."""
        train = [train] if isinstance(train, str) else train
        if isinstance(train, list | tuple) and all(isinstance(name, str) for name in train):
            twice = [name for i, name in enumerate(train) if name in train[:i]]
            if twice:
                raise ValueError(f"part {twice[0]!r} is trained twice")
            return {name: {} for name in train}
        if isinstance(train, Mapping):
            return {name: {} if how is None else how for name, how in train.items()}
        return train


class Update(Training):
    """One of several optimizers that take turns on each batch, as a GAN's two do."""


class StageDefaults(Training):
    """What the stages of a plan may share; see `Stage`."""

    updates: Mapping[str, Update] = {}
    options: Mapping[str, Any] = {}
    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 8
    accumulate: PositiveInt | Literal["auto"] = 1
    precision: Literal["fp32", "bf16-mixed"] = "fp32"
    compiled: bool = Field(False, alias="compile")
    workers: NonNegativeInt = 0
    data: Mapping[str, Any] = {}
    validation: Validation | None = Field(None, alias="validate")
    guards: Guards = Guards()
    cache: Cache = Cache()
    log_every: PositiveInt = 20
    snapshot_every: PositiveInt = 100


class Stage(StageDefaults):
    """One training run inside a plan.

    Args:
        name: unique in its plan; also the stage's folder in the run.
        task: the system's task whose steps run.
        init: origin of each part's weights; parts that it leaves out start where the stage before ended.
        updates: several optimizers in turn on each batch, instead of `train` and `losses`.
        options: `{step.option: value}`, also for losses and metrics.
        epochs: passes over the data; or `steps`, optimizer steps.
        batch_size: samples in one forward pass, in one process.
        accumulate: forward passes whose gradients make one optimizer step; or `auto`: `batch_size` is then the samples
            of one optimizer step, cut into the largest equal pieces that fit into the device's memory.
        precision: `fp32`, or `bf16-mixed` for autocast.
        compile: run the trained part of the task through `torch.compile`.
        workers: processes that read samples; 0 reads in the training process.
        data: settings of the system's data set.
        cache: whether values of the frozen prefix are computed once and kept: `auto`, `off`, `required`, or
            `{views: K, dtype: float16}`.
        log_every: steps between two log lines, checks for finite values and entries in the events.
        snapshot_every: steps between two states to which a stage can go back or be resumed.
    """

    name: str
    task: str
    init: Mapping[str, Source] = {}

    def trainings(self) -> Mapping[str, Training]:
        """Every optimizer of the stage by name; a stage without `updates` has one, named `main`."""
        return self.updates or {"main": self}

    def trained(self) -> tuple[str, ...]:
        """Names in `train` of all updates, in order; a name may be a child, `converters.videomae`."""
        return tuple(dict.fromkeys(name for update in self.trainings().values() for name in update.train))

    def loss_names(self) -> tuple[str, ...]:
        """Losses of all updates, in order."""
        return tuple(dict.fromkeys(name for update in self.trainings().values() for name in update.losses))

    @property
    def passes(self) -> int:
        """Forward passes of `batch_size` samples that make one optimizer step; 1 while `auto` is undecided."""
        return 1 if self.accumulate == "auto" else self.accumulate

    @property
    def step_samples(self) -> int:
        """Samples of one optimizer step, in one process."""
        return self.batch_size * self.passes

    def total(self, terms: Mapping[str, float]) -> float:
        """Weighted sum of the loss terms of all updates.

        Args:
            terms: by loss; or by `update.loss`, where several updates measured it for themselves.
        """

        def term(update: str, name: str) -> float:
            return terms[f"{update}.{name}" if f"{update}.{name}" in terms else name]

        return sum(
            weight * term(update, name)
            for update, training in self.trainings().items()
            for name, weight in training.losses.items()
        )
