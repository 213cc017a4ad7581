"""Before a stage: one traced step shows that every trained part gets a gradient and no frozen one does."""

from collections.abc import Iterable, Mapping

from torch import nn

from gradatim.errors import GuardError, problems


def check_reached(
    stage: str, trained: Iterable[tuple[str, str, nn.Parameter]], parts: Mapping[str, nn.Module]
) -> list[str]:
    """Check the gradients of a traced step.

    Args:
        stage: its name.
        trained: (name in `train`, parameter name, parameter) of everything that should learn.
        parts: all parts of the stage.

    Returns:
        Names of trained arrays that no loss reaches, in parts that others reach.

    Raises:
        GuardError: a trained part got no gradient at all, or a frozen parameter got one.
    """
    trained = list(trained)
    reached: dict[str, bool] = {}
    for path, _, parameter in trained:
        reached[path] = reached.get(path, False) or parameter.grad is not None
    learns = {id(parameter) for _, _, parameter in trained}
    wrong = [
        f"part {path!r} is trained, but no gradient reaches any of its arrays; a step detaches it, or no loss uses it"
        for path, is_reached in reached.items()
        if not is_reached
    ]
    wrong += [
        f"{part}.{name} is frozen, but a gradient reached it"
        for part, module in parts.items()
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and id(parameter) not in learns
    ]
    if wrong:
        raise GuardError(problems(f"stage {stage!r}, before its first step:", wrong))
    return [name for _, name, parameter in trained if parameter.grad is None]
