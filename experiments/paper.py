"""The figures that the paper states, for comparison (ResNet20 and AlexNet on CIFAR-10)."""

TABLE1 = {
    "STD": {"accuracy": 0.9046, "cross entropy": 6.8657, "L1 norm": 0.4757, "Phi": 0.8234},
    "LSG": {"accuracy": 0.9062, "cross entropy": 6.9762, "L1 norm": 0.1742, "Phi": 0.2203},
}
C_IC = {"alexnet": {"STD": 0.1224, "LSG": 0.0684}, "resnet20": {"STD": 0.1648, "LSG": 0.1022}}
ATTACKS = {"one pixel": {"STD": 0.14, "LSG": 0.02}, "local search": {"STD": 0.15, "LSG": 0.02}}
# Of later work, ResNet-20 on CIFAR-10: the authors' "Training Interpretable Convolutional Neural Networks by
# Differentiating Class-specific Filters" (Liang et al., ECCV 2020, arXiv 2007.08194), and a re-implementation of that,
# github.com/NeverGiveU/NNInterpretation (demos/CSG/README.md).
LATER: dict[str, dict[str, dict[str, float]]] = {
    "re-implementation": {
        "LSG": {"accuracy": 0.9177, "density": 0.1000, "mutual information score": 0.1264},
        "STD": {"accuracy": 0.9194, "mutual information score": 0.0883},
    },
    "ECCV 2020": {
        "LSG": {"accuracy": 0.9192, "density": 0.0788, "mutual information score": 0.1603},
        "STD": {"accuracy": 0.9169, "mutual information score": 0.1119},
    },
}
FILTERS_PER_CLASS = {"alexnet": 25}  # m of C_IC; 6 for the residual networks
