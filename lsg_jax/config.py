"""The configuration of a run: one frozen dataclass, from which the command line is generated."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro

from lsg_jax import checks, models, schedule

T = TypeVar("T")
Unset = Annotated[T | None, tyro.conf.arg(help_behavior_hint="")]  # whose help says in words what None stands for
# Fields of GateConfig that make a difference with one gate or scheme alone.
_ONLY_WITH = {
    **dict.fromkeys(("gate_learning_rate", "gate_init", "sparsity_weight", "sparsity_target"), ("gate", "learned")),
    "tighten_threshold": ("gate", "tightened"),
    "shared_filters": ("gate", "fixed"),
    **dict.fromkeys(("period", "phase"), ("scheme", "alternate")),
}
_MOST_SEEDS = 1000  # as one program


@dataclass(frozen=True)
class DataConfig:
    """Which images."""

    dataset: Annotated[str, tyro.conf.Suppress] = "cifar10"
    data_dir: Unset[Path] = None
    """The TFDS data directory to read from (default: TFDS's own)."""
    train_examples: Unset[int] = None
    """Train on only the first N examples, for trying things out."""
    holdout: int = 0
    """Hold N training examples out and measure on them instead of the test set, for choosing settings."""


@dataclass(frozen=True)
class OptimizerConfig:
    """How theta is trained."""

    epochs: int = 150
    """Passes over the training set."""
    batch_size: int = 256
    """Images a step."""
    learning_rate: float = 0.1
    """Theta's highest learning rate (epsilon)."""
    momentum: float = 0.9
    """Theta's momentum."""
    weight_decay: float = 1e-4
    """Weight decay of convolution and linear kernels."""
    schedule: str = "cosine"
    """Theta's learning-rate schedule: cosine (one-cycle) or step (a tenth at 50 % and 75 %)."""


@dataclass(frozen=True)
class GateConfig:
    """How G is trained."""

    gate_learning_rate: float = 0.1
    """G's own learning rate, constant."""
    gate_loss_weight: float = 1.0
    """Lambda: the weight of the LSG cost."""
    sparsity_weight: Unset[float] = None
    """a: the weight of the sparsity term (default: the one that fits the number of gated steps; 0 unless learned)."""
    sparsity_target: Unset[float] = None
    """s: the L1 norm that the gate is pulled to, in [K, C K] (default: K, one class a filter)."""
    silence_weight: float = 0.0
    """The weight, in gated epochs, of the share of activation outside a class's own filters (not the paper's)."""
    complement_weight: float = 0.0
    """The weight, in gated epochs, of what the filters outside a class's own still know of it: cross entropy between
    the uniform distribution and their prediction (not the paper's)."""
    period: int = 3
    """Of every so many epochs one is gated."""
    phase: int = 1
    """The gated epoch's place in its period."""
    gate_init: float = 1.0
    """The initial value of every gate entry, in (0, 1]: the first projected update brings each filter's largest entry
    to 1, so a value below 1 only makes that update larger."""
    tighten_threshold: float = 0.5
    """h: a filter of a tightened gate is one class's alone if that entry alone is at least h, else it is shared."""
    shared_filters: Unset[int] = None
    """Filters that all classes share in a fixed gate (default: K modulo C, 4 for 64 filters and 10 classes)."""


@dataclass(frozen=True)
class OutputConfig:
    """Where the run is kept and what it runs on. None of it changes what is learned."""

    output: Unset[Path] = None
    """The run folder (default: a name made of the settings, under runs/)."""
    checkpoint_every: int = 1
    """Epochs between checkpoints."""
    seeds: int = 1
    """How many seeds to train as one program, --seed and those after it; each has a run folder, seedN in this one."""
    coordinator: Unset[str] = None
    """On several hosts, the same command on each: HOST:PORT of process 0, or auto (SLURM, Open MPI, TPU pods)."""
    processes: Unset[int] = None
    """How many processes there are (auto knows)."""
    process: Unset[int] = None
    """Which one this is, from 0 (auto knows)."""


_PARTS = {"data": DataConfig, "optimizer": OptimizerConfig, "lsg": GateConfig, "run": OutputConfig}


@dataclass(frozen=True)
class Config:
    """A run of Label-Sensitive Gate training."""

    model: str = "resnet20"
    """The network: resnet20, 32, 44, 56, 110 (or any 6 n + 2 layers), or alexnet."""
    init: Unset[Path] = None
    """Start from the weights of this run folder, or of this PyTorch checkpoint (.safetensors, .th, .pt, .pth), of the
    same --model. The normalisation that goes with them, for a checkpoint ImageNet's, replaces the data set's."""
    gate: str = "learned"
    """The gate: learned, fixed (appendix C), tightened (section 3.3: that of the run --init, kept fixed), or none."""
    scheme: str = "alternate"
    """alternate (Algorithm 1) or joint (equation 3 in every batch)."""
    precision: str = "float32"
    """What the convolutions compute in: float32 or bfloat16 (for accelerators)."""
    seed: int = 0
    """The seed of every random choice."""
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    lsg: GateConfig = field(default_factory=GateConfig)
    run: OutputConfig = field(default_factory=OutputConfig)

    def __post_init__(self) -> None:
        for name, kind in _PARTS.items():
            checks.instance(name, getattr(self, name), kind)
        for name, text in (("model", self.model), ("dataset", self.data.dataset)):
            checks.instance(f"--{name}", text, str)
        for name, path in (("init", self.init), ("data-dir", self.data.data_dir), ("output", self.run.output)):
            if path is not None:
                checks.instance(f"--{name}", path, Path)
        models.constructor(self.model)
        checks.known("--gate", self.gate, schedule.GATES)
        checks.known("--scheme", self.scheme, schedule.SCHEMES)
        checks.known("--precision", self.precision, models.PRECISIONS)
        checks.known("--schedule", self.optimizer.schedule, schedule.SCHEDULES)
        for name, value, least in (
            ("seed", self.seed, 0),
            ("epochs", self.optimizer.epochs, 1),
            ("batch-size", self.optimizer.batch_size, 1),
            ("holdout", self.data.holdout, 0),
            ("period", self.lsg.period, 1),
            ("checkpoint-every", self.run.checkpoint_every, 1),
            ("seeds", self.run.seeds, 1),
        ):
            checks.whole(f"--{name}", value, least)
        _require(self.run.seeds <= _MOST_SEEDS, "seeds", self.run.seeds, f"at most {_MOST_SEEDS}")
        _require(self.seed + self.run.seeds <= 2**32, "seed", self.seed, "a whole number below 2**32")
        for name, count, least in (
            ("train-examples", self.data.train_examples, 1),
            ("shared-filters", self.lsg.shared_filters, 0),
        ):
            if count is not None:
                checks.whole(f"--{name}", count, least)
        if self.lsg.sparsity_target is not None:
            checks.number("--sparsity-target", self.lsg.sparsity_target)
        checks.whole("--phase", self.lsg.phase, 0, self.lsg.period - 1)
        for name, rate in (
            ("learning-rate", self.optimizer.learning_rate),
            ("gate-learning-rate", self.lsg.gate_learning_rate),
            ("gate-loss-weight", self.lsg.gate_loss_weight),
        ):
            checks.number(f"--{name}", rate, positive=True)
        for name, weight in (
            ("weight-decay", self.optimizer.weight_decay),
            ("sparsity-weight", self.lsg.sparsity_weight),
            ("silence-weight", self.lsg.silence_weight),
            ("complement-weight", self.lsg.complement_weight),
        ):
            fine = weight is None or (checks.is_number(weight) and 0 <= weight < float("inf"))
            _require(fine, name, weight, "a number of at least 0")
        momentum = self.optimizer.momentum
        _require(checks.is_number(momentum) and 0 <= momentum < 1, "momentum", momentum, "in [0, 1)")
        for name, entry in (("gate-init", self.lsg.gate_init), ("tighten-threshold", self.lsg.tighten_threshold)):
            _require(checks.is_number(entry) and 0 < entry <= 1, name, entry, "in (0, 1]")
        if self.gate == "tightened" and self.init is None:
            raise ValueError("--gate=tightened needs --init RUN, a run with a learned gate to tighten")
        processes, process = self.run.processes, self.run.process
        if self.run.coordinator in (None, "auto"):
            for name, number in (("processes", processes), ("process", process)):
                _require(number is None, name, number, "left out unless --coordinator names a host")
        else:
            checks.instance("--coordinator", self.run.coordinator, str)
            host, _, port = self.run.coordinator.rpartition(":")
            numbered = port.isdecimal() and 1 <= int(port) <= 65535
            _require(bool(host) and numbered, "coordinator", self.run.coordinator, "HOST:PORT or auto")
            checks.whole("with a --coordinator, --processes", processes, 1)
            checks.whole("--process", process, 0, (processes or 1) - 1)

    def resolve(self, num_examples: int, num_classes: int, num_filters: int) -> "Config":
        """Returns the configuration with every default that depends on the data or the model filled in.

        Raises ValueError on a setting that does not fit them.
        """
        for name, count in (("examples", num_examples), ("classes", num_classes), ("filters", num_filters)):
            checks.whole(f"the number of {name}", count, 1)
        batch_size = self.optimizer.batch_size
        _require(batch_size <= num_examples, "batch-size", batch_size, f"at most the {num_examples} training examples")
        epochs, steps = self.optimizer.epochs, num_examples // batch_size
        _require(epochs * steps < 2**31, "epochs", epochs, f"fewer than 2**31 steps in all, {steps} an epoch")
        target = float(num_filters if self.lsg.sparsity_target is None else self.lsg.sparsity_target)
        most = num_classes * num_filters
        _require(num_filters <= target <= most, "sparsity-target", target, f"in [K, C K] = [{num_filters}, {most}]")
        shared = num_filters % num_classes if self.lsg.shared_filters is None else self.lsg.shared_filters
        _require(
            self.gate != "fixed" or (0 <= shared <= num_filters and (num_filters - shared) % num_classes == 0),
            "shared-filters",
            shared,
            f"such that {num_filters} minus it divides by {num_classes} classes, as {num_filters % num_classes} does",
        )
        weight = self.lsg.sparsity_weight
        if weight is None and self.gate != "learned":
            weight = 0.0
        elif weight is None:
            weight = schedule.sparsity_weight(
                self.gated_epochs() * steps, self.lsg.gate_learning_rate, self.lsg.gate_loss_weight
            )
        lsg = dataclasses.replace(self.lsg, sparsity_weight=weight, sparsity_target=target, shared_filters=shared)
        return dataclasses.replace(self, lsg=lsg)

    def check_used(self, num_classes: int, num_filters: int) -> None:
        """Raises ValueError on a setting that makes no difference with this gate or scheme.

        For what is about to be trained: what was trained may have been so by an earlier version.
        """
        why = "with --gate=none, which has no gated epochs"
        _require(self.gate != "none" or self.scheme == "alternate", "scheme", self.scheme, f"alternate {why}")
        resolved = {
            "sparsity_weight": 0.0,
            "sparsity_target": float(num_filters),
            "shared_filters": num_filters % num_classes,
        }
        for each in dataclasses.fields(GateConfig):
            value, default = getattr(self.lsg, each.name), each.default
            setting, needed = _ONLY_WITH.get(each.name, ("gate", self.gate))
            if self.gate == "none":  # nothing of the gate does
                setting = "gate"
            chosen = getattr(self, setting)
            used = self.gate != "none" and chosen == needed
            if not used and value not in (default, resolved.get(each.name, default)):
                name = each.name.replace("_", "-")
                raise ValueError(f"--{name} makes no difference with --{setting}={chosen}; leave it out, got {value}")

    def path(self, epoch: int) -> str:
        """Returns the path an epoch takes: 'std', 'lsg' or 'joint'."""
        return schedule.path(epoch, **self._turns)

    def gated_epochs(self) -> int:
        """Returns how many epochs the gate takes part in; where G is learned they update it."""
        return schedule.gated_epochs(self.optimizer.epochs, **self._turns)

    @property
    def _turns(self) -> dict[str, Any]:
        return {"gate": self.gate, "scheme": self.scheme, "period": self.lsg.period, "phase": self.lsg.phase}

    def to_json(self) -> dict[str, Any]:
        """Returns nested dictionaries of plain values; ``from_json`` is the inverse."""

        def plain(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: plain(each) for name, each in value.items()}
            return str(value) if isinstance(value, Path) else value

        return plain(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> "Config":
        """Rebuilds a configuration. Raises ValueError on a field or a value that it does not know."""
        try:
            tree = {"init": None} | dict(tree)  # earlier versions wrote none
            data, run = dict(tree.pop("data")), dict(tree.pop("run"))
            for part, key in ((tree, "init"), (data, "data_dir"), (run, "output")):
                part[key] = None if part[key] is None else Path(part[key])
            return cls(
                **tree | {"optimizer": OptimizerConfig(**tree["optimizer"]), "lsg": GateConfig(**tree["lsg"])},
                data=DataConfig(**data),
                run=OutputConfig(**run),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a configuration of this version: {error}") from error

    def settings(self) -> dict[str, Any]:
        """Returns every field that changes what is learned, by its command-line name; the folders of data and run do
        not.
        """
        tree = self.to_json()
        flat = {name: value for name, value in tree.items() if not isinstance(value, dict)}
        flat |= tree["data"] | tree["optimizer"] | tree["lsg"]
        del flat["data_dir"]
        return {name.replace("_", "-"): value for name, value in flat.items()}


def _require(holds: bool, name: str, value: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"--{name} must be {allowed}, got {value}")
