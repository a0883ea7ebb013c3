"""Estimators with scikit-learn's interface.

xgboost, gradient_boosting    XGBoost's settings; scikit-learn's (Friedman's algorithm)
second_order, friedman        settings and training of the two families
estimator                     what all share;  classes: what classifiers add
inputs, settings              reading what users give
importance, saving            of features; to files
"""
