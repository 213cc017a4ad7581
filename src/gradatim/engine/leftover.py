"""The last batch of an epoch, where losses compare samples and it would hold a single one."""

from gradatim.plan.stage import Stage
from gradatim.system import System


def lone_problems(system: System, stage: Stage, samples: int, *, world: int = 1) -> list[str]:
    """What to change where a loss compares the samples of a batch and some batch would hold one alone.

    Args:
        system, stage: what runs.
        samples: of training.
        world: processes that share a batch.
    """
    chosen = [name for name in stage.loss_names() if name in system.comparing]
    batches = -(-samples // (stage.batch_size * world))
    ends_before = stage.steps is not None and stage.steps * stage.passes < batches
    if not chosen or ends_before or not _leaves_one(samples, stage.batch_size, world):
        return []
    fits = [size for size in range(2, samples + 1) if not _leaves_one(samples, size, world)]
    nearest = sorted(fits, key=lambda size: (abs(size - stage.batch_size), size))[:2]
    advice = f"`batch_size: {' or '.join(map(str, sorted(nearest)))}` leaves none over" if nearest else "add samples"
    names = ", ".join(map(repr, chosen))
    return [
        f"stage {stage.name!r}: loss {names} compares the samples of a batch, and the last of an epoch would hold one "
        f"alone ({samples} samples in batches of {stage.batch_size * world}): its spread is not defined; {advice}"
    ]


def _leaves_one(samples: int, batch_size: int, world: int) -> bool:
    return batch_size > 1 and 0 < samples % (batch_size * world) < 2 * world
