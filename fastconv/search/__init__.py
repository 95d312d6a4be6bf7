"""The search for hyperparameters: every setting measured on the same validation parts."""

from .protocol import SearchResult, count_trainings, search


__all__ = ["SearchResult", "count_trainings", "search"]
