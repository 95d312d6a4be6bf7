"""Networks as scikit-learn estimators.

They take images (N, C, H, W), grey images (N, H, W), or flat rows (N, features), with
`image_shape` to say what images these are.  Whatever scikit-learn does with an estimator
works: pipelines, cross-validation, searches, learning curves, in parallel.

joblib's processes (loky, its default) get a share of the processors each, which fastconv's
threads keep to.  Its threads share fastconv's one pool, and its "multiprocessing" leaves each
worker all processors: there `n_threads` limits the part of one estimator.
"""

try:
    from .classifier import CNNClassifier
    from .regressor import CNNRegressor
except ImportError as error:
    raise ImportError(
        "the estimators need scikit-learn 1.6 or newer: pip install 'fastconv[sklearn]'"
    ) from error


__all__ = ["CNNClassifier", "CNNRegressor"]
