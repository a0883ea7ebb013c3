"""Measures of what a model gives; they know no model.

scores              of classes and numbers, as a table's predictions have them
feature_distances   Frechet and kernel distances of features (FID, KID)
sample_precision    and recall of generated features, by nearest neighbours
sample_scores       these and the inception score of named features
mode_coverage       modes of a mixture that samples reach
code_usage          codes of a quantiser in use, and their perplexity
parzen              log-likelihood under a Parzen window
critic              a critic's estimate beside the exact distance of the same batch
"""
