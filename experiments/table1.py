"""Table 1 for any run: accuracy, cross entropy, the L1 norm of its gate, and Phi."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments import claims, paper
from experiments.claims import Claim, Network
from lsg_jax import gates, losses, metrics, plots
from lsg_jax.training import schedule


def measure(networks: list[Network]) -> Claim:
    """Returns Table 1 for each network, beside the paper's."""
    return Claim(
        "table1",
        "Table 1: accuracy, cross entropy, L1 norm and Phi",
        "Cross entropy in nats an image (the paper's 6.87 has no unit). The L1 norm is that of the gate a network was "
        "trained with, divided by C K or, where it had none, of the gate solved for Phi. Phi is the minimum over G of "
        "CE + | density - 1/C | on the test set, converged, and after as many of Algorithm 1's own updates of G as the "
        "training of the first network had or would have had: the paper's 0.8234 for a plain network is no converged "
        "minimum. The gate is chosen by the label, so a low Phi alone does not show that filters are class-specific.",
        {network.name: numbers(network, networks[0]) for network in networks} | {"the paper's": paper.TABLE1},
        {"phi": _picture(networks)},
    )


def numbers(network: Network, trained: Network) -> dict[str, Any]:
    """Returns one network's column, with a budget of updates of G as in the training of ``trained``."""
    kernel, bias = network.linear
    gated = (network.features * network.gate[network.labels]) @ kernel + bias
    return {
        "accuracy": float(np.mean(network.logits.argmax(1) == network.labels)),
        "cross entropy": _cross_entropy(network.logits, network.labels),
        "accuracy, LSG path": float(np.mean(gated.argmax(1) == network.labels)),
        "cross entropy, LSG path": _cross_entropy(gated, network.labels),
        "L1 norm": float(gates.density(jnp.asarray(network.gate))),
        "Phi": _described(network.solved),
        "Phi, training's budget": _described(_after_training(network, trained)),
    }


def _cross_entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(losses.cross_entropy(jnp.asarray(logits), jnp.asarray(labels)))


def _described(phi: metrics.Phi) -> dict[str, Any]:
    return {
        "Phi": float(phi.value),
        "cross entropy": float(phi.cross_entropy),
        "density": float(phi.density),
        "steps": int(phi.steps),
        "residual": float(phi.residual),
    }


def _after_training(network: Network, trained: Network) -> metrics.Phi:
    """What Algorithm 1's updates of G alone reach, with the a, s, rate and number of steps of a learned gate's."""
    config, (kernel, bias) = replace(trained.run.config, gate="learned"), network.linear
    lsg, gated = config.lsg, config.gated_epochs()
    steps = max(1, gated * (len(trained.dataset.train.labels) // config.optimizer.batch_size))
    return metrics.phi_by_training(
        *map(jnp.asarray, (network.features, network.labels, kernel, bias)),
        jax.random.key(0),
        sparsity_weight=1 / kernel.size,
        sparsity_target=float(kernel.shape[0]),
        training_weight=schedule.sparsity_weight(steps, lsg.gate_learning_rate, lsg.gate_loss_weight),
        learning_rate=lsg.gate_learning_rate * lsg.gate_loss_weight,
        batch_size=config.optimizer.batch_size,
        steps=steps,
    )


def _picture(networks: list[Network]) -> Figure:
    titled = {f"{network.name}: the gate solved for Phi": np.asarray(network.solved.gate) for network in networks}
    return plots.gate_matrices(titled, networks[0].run.class_names)


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
