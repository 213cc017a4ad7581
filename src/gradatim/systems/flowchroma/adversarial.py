"""Losses of a discriminator of colors, and of what tries to pass it.

While the generator's loss is followed back the discriminator should be frozen, or its next step takes in gradients
that would make it worse.
"""

from torch import Tensor

from gradatim.systems.flowchroma.color import restored


def judged(lab: Tensor) -> Tensor:
    """What published discriminators look at: L in [0, 100] beside a and b divided by 127.

    Args:
        lab: normalized, (B, 3, H, W).
    """
    return restored(lab, ab=False)


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Half the sum of two means: real scores shall be 1 above the mean fake one, and fake ones as much below.

    Args:
        real: scores of true pictures, (B, 1) of any sign.
        fake: scores of generated pictures, of which no gradient is needed but the discriminator's.

    Source:
        Relativistic average GAN with least squares (Jolicoeur-Martineau 2018, arXiv 1807.00734).
    """
    return ((real - fake.mean() - 1).square().mean() + (fake - real.mean() + 1).square().mean()) / 2


def generator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The same with real and fake exchanged; arguments as of `discriminator_loss`."""
    return discriminator_loss(real=fake, fake=real)
