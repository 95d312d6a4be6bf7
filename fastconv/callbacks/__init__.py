"""What :func:`fastconv.fit` can call: stopping, checkpoints, schedules, clipping, records."""

from .checkpoint import Checkpoint
from .clipping import ClipGradients
from .early_stopping import EarlyStopping
from .live_plot import LivePlot
from .records import CSVHistory, JSONHistory
from .schedules import CosineLR, ExponentialLR, ReduceOnPlateau, Schedule, StepLR, WarmUp


__all__ = [
    "CSVHistory",
    "Checkpoint",
    "ClipGradients",
    "CosineLR",
    "EarlyStopping",
    "ExponentialLR",
    "JSONHistory",
    "LivePlot",
    "ReduceOnPlateau",
    "Schedule",
    "StepLR",
    "WarmUp",
]
