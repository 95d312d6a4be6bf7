"""Convolution and pooling for NumPy arrays, forward and backward, and a thin CNN framework."""

import importlib
from typing import TYPE_CHECKING, Any


try:
    from .kernels import (
        ShapeError,
        available_backends,
        get_num_threads,
        set_num_threads,
        threads,
        use_backend,
    )
except ModuleNotFoundError as error:
    if error.name != f"{__name__}.kernels":
        raise
    raise ImportError(
        f"{__path__[0]} is fastconv's source, which lacks its kernels; start Python in another "
        "folder, or install with: pip install -e ."
    ) from error

from . import init, models
from .functional import (
    avg_pool2d,
    avg_pool2d_backward,
    conv2d,
    conv2d_backward,
    local_response_norm,
    local_response_norm_backward,
    max_pool2d,
    max_pool2d_backward,
)
from .history import History
from .layers import (
    AvgPool2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    LeakyReLU,
    Linear,
    LocalResponseNorm,
    MaxPool2d,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
)
from .losses import mean_squared_error, softmax, softmax_cross_entropy
from .optim import SGD
from .parameter import Parameter
from .state import load, save
from .summary import summary


__all__ = [
    "SGD",
    "AvgPool2d",
    "Callback",
    "Conv2d",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2d",
    "History",
    "Layer",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "MaxPool2d",
    "Parameter",
    "ReLU",
    "Sequential",
    "ShapeError",
    "Sigmoid",
    "Tanh",
    "TrainingState",
    "augment",
    "available_backends",
    "avg_pool2d",
    "avg_pool2d_backward",
    "callbacks",
    "conv2d",
    "conv2d_backward",
    "datasets",
    "ensemble",
    "evaluate",
    "explain",
    "fit",
    "get_num_threads",
    "init",
    "load",
    "local_response_norm",
    "local_response_norm_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mean_squared_error",
    "models",
    "plot",
    "pretraining",
    "regularisation",
    "save",
    "search",
    "set_num_threads",
    "show_runtime",
    "softmax",
    "softmax_cross_entropy",
    "summary",
    "threads",
    "use_backend",
]


# Not all of them in __all__: without scikit-learn, fastconv.sklearn is an ImportError.
_LAZY_MODULES = {
    "augment",
    "callbacks",
    "datasets",
    "ensemble",
    "plot",
    "pretraining",
    "regularisation",
    "search",
    "sklearn",
}
_LAZY_NAMES = {
    "Callback": "hooks",
    "TrainingState": "hooks",
    "evaluate": "training",
    "explain": "kernels.explain",
    "fit": "training",
    "show_runtime": "kernels.runtime",
}

if TYPE_CHECKING:
    from . import (
        augment,
        callbacks,
        datasets,
        ensemble,
        plot,
        pretraining,
        regularisation,
        search,
    )
    from . import (
        sklearn as sklearn,
    )
    from .hooks import Callback, TrainingState
    from .kernels.explain import explain
    from .kernels.runtime import show_runtime
    from .training import evaluate, fit

    __version__: str
else:

    def __getattr__(name: str) -> Any:
        # What costs milliseconds to import is imported where it is asked for.
        if name == "__version__":
            return importlib.import_module("importlib.metadata").version("fastconv")
        if name in _LAZY_MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        if name in _LAZY_NAMES:
            found = getattr(importlib.import_module(f"{__name__}.{_LAZY_NAMES[name]}"), name)
            globals()[name] = found
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
