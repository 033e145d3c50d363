"""PyTorch's side: trains and evaluates as a good PyTorch user would on this machine. Imports nothing of lsg_jax.

Run by ``benchmarks.turns`` with an interpreter that has PyTorch: one task, which then runs once for every line read.
"""

import json
import sys
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.worker import serve


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.stride, self.missing = stride, (outputs - inputs) // 2

    def forward(self, x):
        shortcut = x
        if self.stride > 1:
            shortcut = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.missing, self.missing))
        x = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(x)) + shortcut, inplace=True)


class ResNet20(nn.Module):
    filters = 64

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
        sizes = [(16, 16, 1)] * 3 + [(16, 32, 2)] + [(32, 32, 1)] * 2 + [(32, 64, 2)] + [(64, 64, 1)] * 2
        self.blocks = nn.Sequential(*(Block(*size) for size in sizes))
        self.classifier = nn.Linear(64, 10)

    def forward(self, x, gate_rows=None):
        features = self.blocks(self.stem(x)).mean((2, 3))
        return self.classifier(features if gate_rows is None else features * gate_rows)


class AlexNet(nn.Module):
    filters = 256

    def __init__(self):
        super().__init__()
        layers, inputs = [], 3
        for index, width in enumerate((64, 192, 384, 256, 256)):
            layers += [nn.Conv2d(inputs, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers += [nn.MaxPool2d(2)] if index < 2 else []
            inputs = width
        self.layers = nn.Sequential(*layers)
        self.classifier = nn.Linear(256, 10)

    def forward(self, x, gate_rows=None):
        features = self.layers(x).mean((2, 3))
        return self.classifier(features if gate_rows is None else features * gate_rows)


MODELS: dict[str, Any] = {"resnet20": ResNet20, "alexnet": AlexNet}
MODES = {"compiled": "default", "graphs": "reduce-overhead"}  # of torch.compile; the latter replays CUDA graphs


class Trainer:
    def __init__(self, model, device="cpu", kind="eager", autocast=False):
        torch.manual_seed(0)
        torch.backends.cudnn.benchmark = True
        self.device = device
        self.model = MODELS[model]().to(device, memory_format=torch.channels_last)
        self.forward = self.model if kind == "eager" else torch.compile(self.model, mode=MODES[kind], dynamic=False)
        self.precision = partial(torch.autocast, device, torch.bfloat16, enabled=autocast)
        kernels = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": 1e-4}, {"params": others}]
        self.optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, fused=device != "cpu")
        self.gate = torch.ones(10, self.model.filters, device=device, requires_grad=True)

    def std_step(self, images, labels):
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            cost = F.cross_entropy(self.forward(images), labels)
        cost.backward()
        self.optimizer.step()

    def lsg_step(self, images, labels, weight=0.1, target=64.0, rate=0.1):
        self.optimizer.zero_grad(set_to_none=True)
        with self.precision():
            entropy = F.cross_entropy(self.forward(images, self.gate[labels]), labels)
        (entropy + weight * (self.gate.abs().sum() - target).abs()).backward()
        self.optimizer.step()
        with torch.no_grad():
            self.gate -= rate * self.gate.grad
            self.gate /= self.gate.abs().amax(0)
            self.gate.clamp_(0, 1)
            self.gate.grad = None

    @torch.inference_mode()
    def evaluate(self, images, labels, batch=500):
        self.model.eval()
        correct = torch.zeros((), device=self.device)
        for start in range(0, len(images), batch):
            with self.precision():
                logits = self.forward(images[start : start + batch].contiguous(memory_format=torch.channels_last))
            correct += (logits.argmax(1) == labels[start : start + batch]).sum()
        self.model.train()
        return float(correct) / len(images)


class Cifar(torch.utils.data.Dataset):
    """What torchvision's RandomCrop(32, padding=4), RandomHorizontalFlip, ToTensor and Normalize do, on tensors."""

    def __init__(self, images, labels, mean, std):
        self.images = F.pad(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(), (4, 4, 4, 4))
        self.labels = torch.from_numpy(labels).long()
        self.mean, self.std = (torch.tensor(values).reshape(3, 1, 1) for values in (mean, std))

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        row, column, flip = torch.randint(0, 9, (3,)).tolist()
        image = self.images[index, :, row : row + 32, column : column + 32]
        image = image.flip(2) if flip % 2 else image
        return image.float().div_(255).sub_(self.mean).div_(self.std), self.labels[index]


def steps(model, path, batch=256, count=10):
    trainer = Trainer(model)
    images = torch.randn(batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch,))
    step = {"std": trainer.std_step, "lsg": trainer.lsg_step}[path]

    def run():
        for _ in range(count):
            step(images, labels)

    return run


def evaluation(file, trainer=None):
    trainer = trainer or Trainer("resnet20")
    data = np.load(file)
    images = torch.from_numpy(data["test_images"]).permute(0, 3, 1, 2).to(trainer.device)
    mean, std = (torch.tensor(data[name], device=trainer.device).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    labels = torch.from_numpy(data["test_labels"]).long().to(trainer.device)
    return lambda: trainer.evaluate(images.float().div_(255).sub_(mean).div_(std), labels)


def epoch(file, workers):
    trainer = Trainer("resnet20")
    data = np.load(file)
    train = Cifar(data["train_images"], data["train_labels"], data["mean"], data["std"])
    loader = torch.utils.data.DataLoader(
        train, 256, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    evaluate = evaluation(file, trainer)

    def run():
        for images, labels in loader:
            trainer.std_step(images.contiguous(memory_format=torch.channels_last), labels)
        evaluate()

    return run


def device_epoch(file, model, path, device, kind, batch):
    """The whole data set on the device, shuffled, cropped and flipped there, a batch at a time, without a loader."""
    trainer = Trainer(model, device, kind, autocast=True)
    step = {"std": trainer.std_step, "lsg": trainer.lsg_step}[path]
    data = np.load(file)
    images = F.pad(torch.from_numpy(data["train_images"]).to(device), (0, 0, 4, 4, 4, 4))
    labels = torch.from_numpy(data["train_labels"]).long().to(device)
    mean, std = (torch.tensor(data[name], device=device).reshape(1, 3, 1, 1) for name in ("mean", "std"))
    pixels, evaluate = torch.arange(32, device=device), evaluation(file, trainer)

    def augmented(chosen):
        count = len(chosen)
        rows = torch.randint(0, 9, (count, 1), device=device) + pixels
        columns = torch.randint(0, 9, (count, 1), device=device) + pixels
        columns = torch.where(torch.rand(count, 1, device=device) < 0.5, columns, columns.flip(1))
        cropped = images[chosen[:, None, None], rows[:, :, None], columns[:, None, :]]
        return cropped.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)

    def run():
        order = torch.randperm(len(labels), device=device)
        for start in range(0, len(labels) - batch + 1, batch):
            chosen = order[start : start + batch]
            step(augmented(chosen), labels[chosen])
        evaluate()  # brings a number to the host, so all before it is done

    return run


def product(size, count):
    matrix = torch.ones(size, size)

    def run():
        for _ in range(count):
            matrix @ matrix

    return run


TASKS = {"steps": steps, "evaluation": evaluation, "epoch": epoch, "device_epoch": device_epoch, "product": product}

if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    serve(TASKS, order, f"torch {torch.__version__}")
