"""Image sets: `image_set` says what one is, `find` finds one by name or path."""
