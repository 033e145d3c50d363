"""The plans of ``experiments.reproduce``: which runs the paper's claims are measured on, and how each is trained."""

from typing import NamedTuple

from experiments import attacks


class Training(NamedTuple):
    """One run of a plan.

    Attributes:
      name: of its folders in runs/ and in results/runs/.
      epochs: how long it is trained; 3 n + 1 of them end on two plain epochs after the last gated one.
      options: what else its command is given.
      control: the name of the run that its report compares it with; without one the report is of it alone.
      start: the name of the run whose weights it starts from.
      cost: of an epoch, as a multiple of the plan's.
      attack_images: how many images its report attacks both networks on.
    """

    name: str
    epochs: int
    options: tuple[str, ...]
    control: str | None = None
    cost: float = 1.0
    start: str | None = None
    attack_images: int = 0


class Plan(NamedTuple):
    """Runs that are trained one after another by ``experiments.COMMAND``.

    Attributes:
      command: trains them.
      trainings: the runs.
      seeds: how many of each are trained, as one program.
      kept: whether the results get a copy and a report of each run.
      summary: the command that looks at all of them at last: tradeoff (all are arms, and one is the control),
        ownership, or none.
      cost: of an epoch of all its seeds, as a multiple of an epoch of one network on all of CIFAR-10.
      attack_images: how many images each network of a tradeoff is attacked on.
      pretrained: whether all of them start from the weights of a checkpoint that is named with ``--init``.
    """

    command: str
    trainings: tuple[Training, ...]
    cost: float = 1.0
    seeds: int = 1
    kept: bool = True
    summary: str | None = None
    attack_images: int = 0
    pretrained: bool = False


_GENTLE = "--gate-loss-weight=0.1"  # results/findings.md: chosen on held-out images
_DENSER = "--sparsity-target=112"  # of 640: the density of the paper's Table 1
_TUNED = ("--learning-rate=0.02",)
_LEARNED = ("--gate=learned", *_TUNED)
_JOINT = ("--gate=learned", "--scheme=joint")
_COSTS = ("--silence-weight=0.5", "--complement-weight=0.1")
_FINETUNED = {
    "none": ("--gate=none", *_TUNED),
    "learned": _LEARNED,
    "fixed": ("--gate=fixed", *_TUNED),
    "silence": (*_LEARNED, "--silence-weight=2"),
    "complement": (*_LEARNED, "--complement-weight=1"),
    "both": (*_LEARNED, "--silence-weight=2", "--complement-weight=1"),
    "joint": (*_JOINT, *_TUNED, *_COSTS),
    "joint-alone": (*_JOINT, *_TUNED),
    "small-costs": (*_LEARNED, *_COSTS),
}
_FINETUNED_SEEDS = {
    "none": range(1, 6),
    "joint": range(1, 6),
    **{name: range(1, 3) for name in ("learned", "silence", "complement", "both")},
}
_HELD_OUT = ("--holdout=5000",)
_SCRATCH = (
    Training("cifar10-none", 31, ("--gate=none",)),
    Training("cifar10-learned", 31, ("--gate=learned", _GENTLE), "cifar10-none", attack_images=attacks.IMAGES),
    Training("cifar10-period6", 31, ("--gate=learned", _GENTLE, "--period=6"), "cifar10-none"),
    Training("cifar10-fixed", 31, ("--gate=fixed", _GENTLE), "cifar10-none"),
    Training("cifar10-fixed-joint", 31, ("--gate=fixed", "--scheme=joint"), "cifar10-none"),
    Training("cifar10-joint", 31, (*_JOINT, _GENTLE), "cifar10-none"),
    Training("cifar10-joint-silence", 31, (*_JOINT, _GENTLE, _COSTS[0]), "cifar10-none"),
    Training("cifar10-joint-complement", 31, (*_JOINT, _GENTLE, _COSTS[1]), "cifar10-none"),
    Training("cifar10-joint-costs", 31, (*_JOINT, _GENTLE, *_COSTS), "cifar10-none", attack_images=attacks.IMAGES),
)
_PAPER = {
    "none": ("--gate=none",),
    "learned": ("--gate=learned", _GENTLE),
    "lambda=1": ("--gate=learned",),
    "joint": (*_JOINT, _GENTLE),
    "fixed": ("--gate=fixed", _GENTLE),
    "fixed-joint": ("--gate=fixed", "--scheme=joint"),
    "joint-costs": (*_JOINT, _GENTLE, *_COSTS),
}
_PAPER_SEEDS = ("none", "learned", "fixed-joint", "joint-costs")
PLANS = {
    "digits": Plan(
        "digits",
        (
            Training("digits-none", 16, ("--gate=none",)),
            Training("digits-learned", 16, ("--gate=learned",), "digits-none", attack_images=10),
            Training("digits-fixed", 16, ("--gate=fixed",), "digits-none"),
        ),
        cost=0.015,
    ),
    "cifar10": Plan(
        "cifar10",
        (
            *_SCRATCH,
            Training("cifar10-no-sparsity", 16, ("--gate=learned", _GENTLE, "--sparsity-weight=0")),
            Training("cifar10-none-longer", 10, ("--gate=none", *_TUNED), start="cifar10-none"),
            Training(
                "cifar10-tightened", 10, ("--gate=tightened", *_TUNED), "cifar10-none-longer", start="cifar10-learned"
            ),
            Training("alexnet-none", 31, ("--model=alexnet", "--gate=none"), cost=2.8),
            Training("alexnet-fixed", 31, ("--model=alexnet", "--gate=fixed", _GENTLE), "alexnet-none", cost=2.8),
        ),
    ),
    "scratch": Plan("cifar10", _SCRATCH, summary="tradeoff"),
    "finetune": Plan(
        "cifar10",
        (
            *(
                Training(
                    f"finetune-{name}",
                    10,
                    options,
                    None if name == "none" else "finetune-none",
                    attack_images=attacks.IMAGES if name in ("learned", "joint") else 0,
                )
                for name, options in _FINETUNED.items()
            ),
            *(
                Training(f"finetune-{name}-seed{seed}", 10, (*_FINETUNED[name], f"--seed={seed}"))
                for name, seeds in _FINETUNED_SEEDS.items()
                for seed in seeds
            ),
        ),
        summary="tradeoff",
        pretrained=True,
    ),
    "seeds": Plan(
        "digits",
        (
            Training("seeds-none", 61, ("--gate=none",)),
            Training("seeds-learned", 61, ("--gate=learned",)),
            Training("seeds-fixed", 61, ("--gate=fixed",)),
            Training("seeds-silence", 61, ("--gate=learned", "--silence-weight=2")),
            Training("seeds-both", 61, ("--gate=learned", "--silence-weight=2", "--complement-weight=1")),
            Training("seeds-joint", 61, _JOINT),
            Training("seeds-joint-silence", 61, (*_JOINT, "--silence-weight=0.5")),
            Training("seeds-complement", 61, ("--gate=learned", "--complement-weight=1")),
            Training("seeds-less-silence", 61, ("--gate=learned", "--silence-weight=0.5")),
            Training("seeds-less-complement", 61, ("--gate=learned", "--complement-weight=0.25")),
            Training("seeds-gentle", 61, ("--gate=learned", _GENTLE)),
            Training("seeds-often", 61, ("--gate=learned", "--period=2")),
            Training("seeds-sharp", 61, ("--gate=learned", "--sparsity-weight=2")),
        ),
        cost=0.04,
        seeds=6,
        kept=False,
        summary="tradeoff",
        attack_images=-(-attacks.IMAGES // 6),  # of an arm's six networks together as many as of one elsewhere
    ),
    "digits-gates": Plan(
        "digits",
        (Training("digits-gates", 31, ("--gate=learned",)),),
        cost=0.23,
        seeds=20,
        kept=False,
        summary="ownership",
    ),
    "digits-gates-denser": Plan(
        "digits",
        (Training("digits-gates-denser", 31, ("--gate=learned", _DENSER)),),
        cost=0.23,
        seeds=20,
        kept=False,
        summary="ownership",
    ),
    "tuning": Plan(
        "cifar10",
        tuple(
            Training(f"tuning-{name}", 13, (*_HELD_OUT, "--train-examples=20000", *options))
            for name, options in (
                ("none", ("--gate=none",)),
                ("lambda=1", ("--gate=learned",)),
                ("lambda=0.1", ("--gate=learned", _GENTLE)),
                ("lambda=0.03", ("--gate=learned", "--gate-loss-weight=0.03")),
                ("a=2", ("--gate=learned", _GENTLE, "--sparsity-weight=2")),
                ("a=20", ("--gate=learned", _GENTLE, "--sparsity-weight=20")),
                ("s=112", ("--gate=learned", _GENTLE, _DENSER)),
                ("gate-rate=0.03", ("--gate=learned", _GENTLE, "--gate-learning-rate=0.03")),
                ("gate-rate=0.3", ("--gate=learned", _GENTLE, "--gate-learning-rate=0.3")),
                ("period=6", ("--gate=learned", _GENTLE, "--period=6")),
                ("fixed-lambda=1", ("--gate=fixed",)),
                ("fixed-lambda=0.1", ("--gate=fixed", _GENTLE)),
                ("fixed-joint", ("--gate=fixed", "--scheme=joint")),
            )
        ),
        cost=0.4,
        kept=False,
        summary="tradeoff",
    ),
    "weights": Plan(
        "cifar10",
        tuple(
            Training(f"weights-{name}", 10, (*_TUNED, *_HELD_OUT, *options))
            for name, options in (
                ("none", ("--gate=none",)),
                ("silence=0-complement=0", _JOINT),
                ("silence=0.25-complement=0.05", (*_JOINT, "--silence-weight=0.25", "--complement-weight=0.05")),
                ("silence=0.5-complement=0.1", (*_JOINT, *_COSTS)),
                ("silence=1-complement=0.2", (*_JOINT, "--silence-weight=1", "--complement-weight=0.2")),
                ("silence=0.5", (*_JOINT, "--silence-weight=0.5")),
                ("complement=0.1", (*_JOINT, "--complement-weight=0.1")),
            )
        ),
        cost=0.9,
        kept=False,
        summary="tradeoff",
        pretrained=True,
    ),
    **{
        f"paper-{model}": Plan(
            "cifar10",
            tuple(
                Training(
                    f"paper-{model}-{name}{f'-seed{seed}' if seed else ''}",
                    151,
                    (f"--model={model}", "--precision=bfloat16", *options, *([f"--seed={seed}"] if seed else [])),
                    None if name == "none" or seed else f"paper-{model}-none",
                )
                for name, options in _PAPER.items()
                for seed in range(3 if name in _PAPER_SEEDS else 1)
            ),
            cost=cost,
            summary="tradeoff",
        )
        for model, cost in (("resnet20", 1.0), ("alexnet", 2.8))
    },
}
