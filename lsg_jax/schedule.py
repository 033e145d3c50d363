"""Which path an epoch takes, the learning rate of a step, and the sparsity weight that fits a number of LSG steps."""

import math

import optax

from lsg_jax import checks

GATES = ("learned", "fixed", "tightened", "none")
SCHEDULES = ("cosine", "step")
SCHEMES = ("alternate", "joint")

# A gate is sparse after log(1 / first difference) / (epsilon lambda a) LSG steps; docs/choosing-a-and-s.md.
SPARSITY_EFOLDS = 20.0


def path(epoch: int, *, gate: str, scheme: str, period: int, phase: int) -> str:
    """Returns 'std', 'lsg' or 'joint' for an epoch (Algorithm 1 line 3: 'lsg' where epoch % 3 == 1).

    Raises ValueError on an unknown gate or scheme, and on numbers that are no such turns.
    """
    checks.whole("epoch", epoch, 0)
    _check_turns(gate, scheme, period, phase)
    if gate == "none":
        return "std"
    if scheme == "joint":
        return "joint"
    return "lsg" if epoch % period == phase else "std"


def gated_epochs(epochs: int, *, gate: str, scheme: str, period: int, phase: int) -> int:
    """Returns how many of ``epochs`` have another path than 'std'. Raises ValueError as ``path`` does."""
    checks.whole("epochs", epochs, 0)
    _check_turns(gate, scheme, period, phase)
    if gate == "none":
        return 0
    return epochs if scheme == "joint" else len(range(phase, epochs, period))


def _check_turns(gate: str, scheme: str, period: int, phase: int) -> None:
    checks.known("gate", gate, GATES)
    checks.known("scheme", scheme, SCHEMES)
    checks.whole("period", period, 1)
    checks.whole("phase", phase, 0, period - 1)


def sparsity_weight(gated_steps: int, gate_learning_rate: float, gate_loss_weight: float) -> float:
    """Returns the a that makes the gate sparse within ``gated_steps``.

    A step multiplies the differences 1 - G by 1 / (1 - epsilon lambda a); this a makes them grow by exp(20) in all, but
    by no more than e in one step: fewer than 20 gated steps do not make a gate sparse.

    Raises ValueError on a negative number of steps, and on a rate or weight that is not positive.
    """
    checks.whole("gated_steps", gated_steps, 0)
    checks.number("gate_learning_rate", gate_learning_rate, positive=True)
    checks.number("gate_loss_weight", gate_loss_weight, positive=True)
    if gated_steps < 1:
        return 0.0
    return -math.expm1(-min(1.0, SPARSITY_EFOLDS / gated_steps)) / (gate_learning_rate * gate_loss_weight)


def learning_rate(name: str, peak: float, total_steps: int) -> optax.Schedule:
    """Returns theta's learning rate as a function of the step.

    'step' divides ``peak`` by 10 at 50 % and at 75 % of the steps, 'cosine' is a one-cycle: linear warm-up from
    a tenth of ``peak`` over the first 15 %, then a cosine to a hundredth of it. Not to 0: the last plain epoch has to
    undo what the gated one before it did to the STD path.

    Raises ValueError on any other name, a ``peak`` that is not positive, and fewer than 1 step.
    """
    checks.known("schedule", name, SCHEDULES)
    checks.number("the peak", peak, positive=True)
    checks.whole("total_steps", total_steps, 1)
    if name == "step":
        return optax.piecewise_constant_schedule(peak, {total_steps // 2: 0.1, total_steps * 3 // 4: 0.1})
    warmup = max(1, round(0.15 * total_steps))
    return optax.warmup_cosine_decay_schedule(peak / 10, peak, warmup, max(total_steps, warmup + 1), peak / 100)
