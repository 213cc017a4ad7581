"""Tasks: short chains of steps over named parts, read from the steps' signatures.

A step is a plain function. An argument named like a part receives that part; every other one is a value: a field
of the sample or what an earlier step made; with the default None it may be absent. Keyword-only arguments are
options. An argument named `generator` receives a counted random generator.
"""

import inspect
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from gradatim.errors import SystemDefinitionError, problems, unknown
from gradatim.plan.graph import needed_steps
from gradatim.plan.vocabulary import CallNames

Value = Tensor | dict[str, Tensor]
MASK = "_mask"
"""What follows a value's name in the name of its mask: true where a row is valid, (B, N) bool; None: all are."""
Function = TypeVar("Function", bound=Callable[..., Any])


def makes(*names: str) -> Callable[[Function], Function]:
    """Write down the names of the values that a step returns; the function stays as it is.

    A step that makes several values returns them as a tuple, in this order.
    """

    def noted(function: Function) -> Function:
        function.__makes__ = names  # type: ignore[attr-defined]
        return function

    return noted


def itemized(*names: str) -> Callable[[Function], Function]:
    """Write down what a loss is the sum of: it returns one number for each name, (n,), and all are logged."""

    def noted(function: Function) -> Function:
        function.__items__ = names  # type: ignore[attr-defined]
        return function

    return noted


@dataclass(frozen=True, kw_only=True)
class Call:
    """A step, loss or metric with what its signature says."""

    function: Callable[..., Any]
    names: CallNames
    arguments: tuple[str, ...]

    @property
    def optional(self) -> tuple[str, ...]:
        """Arguments whose value may be absent."""
        return self.names.optional

    @property
    def logged(self) -> tuple[str, ...]:
        """Names under which a loss is logged: its own, and those of what it is the sum of."""
        items = getattr(self.function, "__items__", ())
        return (self.names.name, *(f"{self.names.name}/{item}" for item in items))

    def bound(self, options: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Any]:
        """A function of one mapping, name -> part, value or generator, with options put in."""
        function, arguments = self.function, self.arguments
        own = {
            key.partition(".")[2]: value for key, value in options.items() if key.partition(".")[0] == self.names.name
        }
        if self.optional:
            # Whatever may be absent comes last in a signature, so positions stay right.
            return lambda found: function(*[found.get(name) for name in arguments], **own)
        if own:
            return lambda found: function(*[found[name] for name in arguments], **own)
        return _direct(function, arguments)


def _direct(function: Callable[..., Any], arguments: tuple[str, ...]) -> Callable[[Mapping[str, Any]], Any]:
    """A call by names; the usual numbers of arguments are spelled out, since it stands between any two kernels."""
    if len(arguments) == 1:
        (a,) = arguments
        return lambda found: function(found[a])
    if len(arguments) == 2:
        a, b = arguments
        return lambda found: function(found[a], found[b])
    if len(arguments) == 3:
        a, b, c = arguments
        return lambda found: function(found[a], found[b], found[c])
    return lambda found: function(*[found[name] for name in arguments])


def read_call(function: Callable[..., Any], parts: Collection[str], name: str | None = None) -> Call:
    """Read a function's signature.

    Raises:
        SystemDefinitionError: it takes `*args` or `**kwargs`, or an option without a default.
    """
    name = name or function.__name__
    hints = typing.get_type_hints(function)
    arguments: list[str] = []
    optional: list[str] = []
    options = {}
    for argument in inspect.signature(function).parameters.values():
        if argument.kind in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD):
            raise SystemDefinitionError(f"{_where(function)}: {name} takes *{argument.name}; name each argument")
        if argument.kind is argument.KEYWORD_ONLY:
            if argument.default is argument.empty:
                raise SystemDefinitionError(f"{_where(function)}: option {name}.{argument.name} needs a default")
            options[argument.name] = hints.get(argument.name, Any)
        else:
            arguments.append(argument.name)
            if argument.default is None:
                optional.append(argument.name)
            elif argument.default is not argument.empty:
                raise SystemDefinitionError(
                    f"{_where(function)}: {name}.{argument.name} has a default; a value may be absent (= None), and an "
                    "option stands behind *"
                )
    return Call(
        function=function,
        arguments=tuple(arguments),
        names=CallNames(
            name=name,
            parts=tuple(a for a in arguments if a in parts),
            needs=tuple(a for a in arguments if a not in parts and a != "generator" and a not in optional),
            optional=tuple(optional),
            makes=tuple(getattr(function, "__makes__", ())),
            options=options,
            random="generator" in arguments,
        ),
    )


def _where(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else repr(function)


@dataclass(frozen=True, kw_only=True)
class Task:
    """A chain of steps.

    Args:
        name: how a stage calls it.
        steps: in the order in which they run.
    """

    name: str
    steps: tuple[Call, ...]

    @property
    def names(self) -> tuple[CallNames, ...]:
        """What the steps' signatures say."""
        return tuple(step.names for step in self.steps)

    @property
    def parts(self) -> tuple[str, ...]:
        """Parts that the steps use, in order."""
        return tuple(dict.fromkeys(part for step in self.steps for part in step.names.parts))

    def chosen(self, want: Iterable[str]) -> tuple[Call, ...]:
        """The steps that lead to the wanted values."""
        needed = {names.name for names in needed_steps(self.names, want)}
        return tuple(step for step in self.steps if step.names.name in needed)

    def given(self, names: Collection[str]) -> "Task":
        """The task where these values are there already: without the steps that make them."""
        kept = tuple(step for step in self.steps if not set(step.names.makes) & set(names))
        return self if len(kept) == len(self.steps) else Task(name=self.name, steps=kept)

    def compute(
        self,
        model: Mapping[str, nn.Module] | nn.Module,
        sample: Mapping[str, Value],
        *,
        want: Sequence[str],
        options: Mapping[str, Any] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Value]:
        """Run only the steps that lead to the wanted values.

        Args:
            model: parts by name, or a module with them as children.
            sample: fields by name, each with a batch axis first; also values that need not be computed.
            want: names of values.
            options: `{step.option: value}`.
            generator: for random steps; they fail without one.

        Returns:
            The wanted values.

        Raises:
            SystemDefinitionError: a wanted value, or a field that leads to it, is nowhere.
        """
        parts = dict(model.named_children()) if isinstance(model, nn.Module) else model
        found: dict[str, Any] = {**parts, **sample}
        if generator is not None:
            found["generator"] = generator
        steps = self.given(sample).chosen(want)
        known = {*found, *(name for step in steps for name in step.names.makes)}
        nowhere = [unknown("value", name, known - parts.keys()) for name in want if name not in known]
        if nowhere:
            raise SystemDefinitionError("\n".join(nowhere))
        for step in steps:
            absent = [name for name in step.arguments if name not in found and name not in step.optional]
            if absent:
                raise SystemDefinitionError(f"task {self.name!r}, step {step.names.name!r} needs {', '.join(absent)}")
            store(found, step.names.makes, step.bound(options or {})(found))
        return {name: found[name] for name in want}


def store(found: dict[str, Any], names: Sequence[str], result: Any) -> None:
    """Put what a step returned under the names that it makes."""
    if len(names) == 1:
        found[names[0]] = result
        return
    for name, value in zip(names, result, strict=True):
        found[name] = value


def read_tasks(
    tasks: Mapping[str, Sequence[Callable[..., Any]]], parts: Collection[str], fields: Collection[str]
) -> dict[str, Task]:
    """Read tasks from their steps and check the value graph.

    Args:
        tasks: functions decorated with `makes`, by task.
        parts: names of the system's parts.
        fields: names that a sample can hold.

    Raises:
        SystemDefinitionError: every value that nobody makes, name that is both part and value, step without
            `makes`, and value made twice, in one message.
    """
    wrong: list[str] = []
    result = {}
    for name, functions in tasks.items():
        calls = tuple(read_call(function, parts) for function in functions)
        made: set[str] = set()
        for call in calls:
            wrong += (f"task {name!r}, {line}" for line in _wrong_in(call, parts, set(fields), made))
            made |= set(call.names.makes)
        result[name] = Task(name=name, steps=calls)
    wrong += (f"{both!r} is both a part and a field of the sample" for both in sorted(set(parts) & set(fields)))
    if wrong:
        raise SystemDefinitionError(problems("the steps do not fit together:", dict.fromkeys(wrong)))
    return result


def _wrong_in(call: Call, parts: Collection[str], fields: set[str], made: set[str]) -> Iterable[str]:
    known = fields | made
    where = f"step {call.names.name!r} ({_where(call.function)})"
    if not call.names.makes:
        yield f"{where}: makes nothing; decorate it with @makes(...)"
    for name in call.names.makes:
        if name in parts:
            yield f"{where}: value {name!r} is also the name of a part"
        elif name in made:
            yield f"{where}: value {name!r} is made twice"
    for name in call.names.needs:
        if name not in known:
            yield f"{where}: {unknown('part or value', name, {*parts, *known})}"
    for name in call.names.optional:
        if name not in known and name.removesuffix(MASK) not in known:
            yield f"{where}: {unknown('value', name, known)}"
