"""Pictures of networks, trainings and data.

Every function returns a matplotlib Figure and, given a path, also writes it there.  The
figures belong to nobody's global state: pyplot is not used, no window opens; a notebook
shows what the last line of a cell returns.
"""

from .activations import ActivationStatistics, activation_histograms, activation_statistics
from .classes import confusion_matrix, misclassified
from .curves import learning_curve, training_size_curve
from .filters import feature_maps, filters, filters_and_feature_maps
from .images import before_after, images
from .receptive_field import effective_field, effective_receptive_field, receptive_field
from .search import search_results


__all__ = [
    "ActivationStatistics",
    "activation_histograms",
    "activation_statistics",
    "before_after",
    "confusion_matrix",
    "effective_field",
    "effective_receptive_field",
    "feature_maps",
    "filters",
    "filters_and_feature_maps",
    "images",
    "learning_curve",
    "misclassified",
    "receptive_field",
    "search_results",
    "training_size_curve",
]
