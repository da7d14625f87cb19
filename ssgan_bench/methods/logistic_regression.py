"""Logistic regression on pixels, on the labels alone, by scikit-learn's `LogisticRegression` (L-BFGS).

minimize C sum_i CE(W x_i + b, y_i) + |W|^2 / 2.
"""

import warnings
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from ssgan_bench.config import Kind, MethodConfig, RunConfig
from ssgan_bench.methods.classical import Array, ClassicalMethod, Work, over_all_classes

MOST_ITERATIONS = 10_000
ASSUMED_CLASSES = 10
"""For the estimate of the work."""
FEWEST_ITERATIONS, ITERATIONS_PER_ROOT = 50, 4.5
"""Iterations on MNIST were 54, 93, 142, 204 and 333 with 100, 500, 1,000, 2,000 and 4,000 labels: about 4.5 times the
square root (docs/scaling.md)."""


class LogisticRegressionConfig(MethodConfig):
    """The default was chosen on the validation images of digits, seeds 0 to 7 (LOG.md)."""

    name: Literal["logistic_regression"] = "logistic_regression"
    kind: ClassVar[Kind] = "classical"
    C: Annotated[float, Field(gt=0.0, le=1e6)] = 1.0
    """Inverse strength of the regularization, as in scikit-learn."""


class LogisticRegression(ClassicalMethod):
    """One linear layer with softmax and L2 regularization, solved to convergence."""

    config_type = LogisticRegressionConfig
    uses_unlabeled = False

    def __init__(self, config: RunConfig, channels: int, num_classes: int):
        super().__init__(config, channels, num_classes)
        assert isinstance(config.method, LogisticRegressionConfig)
        self.options = config.method

    @classmethod
    def work(cls, num_labeled: int, num_unlabeled: int, pixels: int) -> Work:
        per_image = pixels * ASSUMED_CLASSES
        iterations = max(FEWEST_ITERATIONS, ITERATIONS_PER_ROOT * num_labeled**0.5)
        return Work(fit=2 * iterations * num_labeled * per_image, per_image=per_image, iterations=iterations)

    def fit_rows(self, labeled: Array, labels: NDArray[np.int64], unlabeled: Array) -> Callable[[Array], Array]:
        # Imported here, because planning a study needs only the options.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression as Regression

        model = Regression(C=self.options.C, max_iter=MOST_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            # One label per class is a budget like any other.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            try:
                model.fit(labeled, labels)
            except ConvergenceWarning:
                raise RuntimeError(
                    f"logistic regression did not converge in {MOST_ITERATIONS} iterations; lower method.C = "
                    f"{self.options.C}"
                ) from None
        self.iterations = int(model.n_iter_.max())
        return lambda rows: over_all_classes(model.predict_proba(rows), model.classes_, self.num_classes)
