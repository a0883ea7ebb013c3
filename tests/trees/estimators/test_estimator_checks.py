"""scikit-learn's own checks of the estimator contract, all of them, none excused."""

import jaxtyping
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from jaxlab.trees import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    XGBoostClassifier,
    XGBoostRanker,
    XGBoostRegressor,
)

pytestmark = pytest.mark.slow


@pytest.mark.filterwarnings("ignore::FutureWarning:sklearn")
@parametrize_with_checks(
    [
        XGBoostRegressor(n_estimators=4),
        XGBoostClassifier(n_estimators=4),
        XGBoostRanker(n_estimators=4),
        XGBoostRegressor(n_estimators=4, booster="dart", rate_drop=0.2),
        GradientBoostingRegressor(n_estimators=4, learning_rate=0.5),
        GradientBoostingClassifier(n_estimators=4, learning_rate=0.5),
    ]
)
def test_an_estimator_keeps_the_contract_of_scikit_learn(estimator, check, request):
    # One check sets values of any type, which `fit` refuses, not the constructor; the
    # tests' own type checks would be first.
    if "do_not_raise_errors_in_init" in request.node.name:
        before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)
        request.addfinalizer(
            lambda: jaxtyping.config.update("jaxtyping_disable", before)
        )
    check(estimator)
