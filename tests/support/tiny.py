"""Tiny models for the tests of the engine: every trait that breaks naive Grad-CAM, at a size that runs in a millisecond."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

M = TypeVar("M", bound=nn.Module)


class Cnn(nn.Module):
    """Convolutions, batch-norm, in-place ReLUs, dropout, pooling, a residual block and a classifier."""

    def __init__(self, classes: int = 5, channels: int = 12) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.block = nn.Sequential(Residual(channels), Residual(channels))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(channels, classes)
        self.forwards = 0

    def forward(self, pixels: Tensor) -> Any:
        self.forwards += 1
        features = self.block(self.stem(pixels))
        return self.fc(self.drop(self.pool(features).flatten(1)))


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(channels, channels, 3, 1, 1), nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, features: Tensor) -> Any:
        out = self.norm(self.conv(features))
        out += features
        return self.relu(out)


class InPlaceAfter(nn.Module):
    """As densenet: a functional ReLU, in place or not, right after the layer."""

    def __init__(self, *, inplace: bool, view: bool = False) -> None:
        super().__init__()
        self.features, self.fc, self.inplace, self.view = nn.Conv2d(3, 8, 3, 1, 1), nn.Linear(8, 5), inplace, view

    def forward(self, pixels: Tensor) -> Any:
        features = self.features(pixels)
        if self.view:
            features.flatten(1)[:, :3].mul_(2)
        return self.fc(functional.relu(features, inplace=self.inplace).mean((2, 3)))


class Captioner(nn.Module):
    """A conv encoder and an LSTM or GRU without attention: (photo, words) -> ``(B, words, vocabulary)``."""

    def __init__(self, cell: type[nn.LSTM] | type[nn.GRU] = nn.LSTM, words: int = 20, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.see, self.embed = nn.Linear(8 * 16, width), nn.Embedding(words, width)
        self.cell = cell(width, width, num_layers=2, dropout=0.5, batch_first=True)
        self.speak = nn.Linear(width, words)

    def forward(self, photo: Tensor, words: Tensor) -> Any:
        seen = self.see(self.encoder(photo).flatten(1))[:, None]
        states, _ = self.cell(torch.cat([seen, self.embed(words)], 1)[:, :-1])
        return self.speak(states)


class SideBranch(nn.Module):
    """Two heads: ``main``, and ``side``, which runs later and leads nowhere (or only to the second output)."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.main, self.side = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 9, 3, 1, 1), nn.Conv2d(8, 7, 3, 1, 1)
        self.fc, self.fc2 = nn.Linear(9, 5), nn.Linear(7, 5)

    def forward(self, pixels: Tensor) -> Any:
        trunk = self.trunk(pixels).relu()
        scores = self.fc(self.main(trunk).relu().mean((2, 3)))
        return {"logits": scores, "aux": self.fc2(self.side(trunk).mean((2, 3)))}


class Twice(nn.Module):
    """One layer that runs twice, the second time on its own result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 3, 3, 1, 1), nn.Linear(3, 5)

    def forward(self, pixels: Tensor) -> Any:
        return self.fc(self.conv(self.conv(pixels).tanh()).tanh().mean((2, 3)))


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Any], **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.function = function

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        return self.function(self, *inputs, **options)


def compiled(model: nn.Module) -> Any:
    """As torch.compile gives it, without generated code."""
    return torch.compile(model, backend="eager")


def snapshot(model: nn.Module) -> dict[str, Any]:
    """All of a model that an explanation must leave as it is, bit for bit."""
    state: dict[str, Any] = {"rng": torch.get_rng_state().tolist()}
    for name, module in model.named_modules():
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        state[f"{name}/hooks"] = [list(found.items()) for found in hooks]
        state[f"{name}/training"] = module.training
        state[f"{name}/dict"] = sorted(module.__dict__)
        if isinstance(module, nn.ReLU):
            state[f"{name}/relu"] = id(module), module.inplace
    for name, parameter in model.named_parameters():
        grad = None if parameter.grad is None else (id(parameter.grad), parameter.grad.tolist())
        state[f"{name}/parameter"] = (
            id(parameter),
            parameter.requires_grad,
            parameter.tolist(),
            grad,
            parameter._version,
        )
    for name, buffer in model.named_buffers():
        state[f"{name}/buffer"] = id(buffer), buffer.tolist(), buffer._version
    state["global"] = (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.backends.cudnn.enabled,
        torch.backends.mkldnn.enabled,
        torch.backends.mha.get_fastpath_enabled(),
    )
    return state


def lively(model: M) -> M:
    """Batch-norms with statistics, so that train and eval mode differ."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2)
    return model
