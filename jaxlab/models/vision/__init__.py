"""Networks of images: `vit`; `inception` and `feature_classifier`, for scores."""
