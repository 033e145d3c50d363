"""Class-specific filters in your own model, data and training loop: ``gates`` and ``losses`` are all it takes."""

import flax.linen as nn
import jax
import optax
from sklearn.datasets import load_digits

from lsg_jax import gates, losses


class Network(nn.Module):
    @nn.compact
    def __call__(self, images, gate_rows=None):
        maps = nn.relu(nn.LayerNorm()(nn.Conv(40, (5, 5))(images)))
        features = nn.relu(nn.LayerNorm()(nn.Conv(40, (3, 3), strides=2)(maps))).mean((1, 2))
        return nn.Dense(10)(features if gate_rows is None else features * gate_rows)


def cost(trained, images, labels, gated):
    params, gate = trained
    gate_rows = gates.rows(gate, labels) if gated else None
    entropy = losses.cross_entropy(Network().apply(params, images, gate_rows), labels)
    return entropy + 2.0 * losses.sparsity(gate, target=40) if gated else entropy


def step(trained, state, images, labels, gated):
    updates, state = optimizer.update(jax.grad(cost)(trained, images, labels, gated), state, trained)
    return optax.apply_updates(trained, updates), state


images, labels = load_digits().images[..., None] / 16, load_digits().target
trained = Network().init(jax.random.key(0), images[:1]), gates.init(num_classes=10, num_filters=40)
optimizers = {"theta": optax.adam(3e-3), "gate": optax.chain(optax.sgd(0.1), gates.projection())}
optimizer = optax.partition(optimizers, ("theta", "gate"))
state, step = optimizer.init(trained), jax.jit(step, static_argnames="gated")
for epoch in range(12):
    for chosen in jax.random.permutation(jax.random.key(epoch), 1792).reshape(-1, 64):
        trained, state = step(trained, state, images[chosen], labels[chosen], gated=epoch % 3 == 1)
accuracy = (Network().apply(trained[0], images).argmax(1) == labels).mean()
print(f"training accuracy {accuracy:.3f}, density {gates.density(trained[1]):.3f}")
