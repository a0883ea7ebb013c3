"""Data: NumPy in, batches out; batch t is a function of (seed, t).

In reading order: `order` (which rows make batch t), `batches` (kept on the device, or
streamed by worker processes), `critic_order` (how many batches a critic gets at a
time); `fingerprint` (a name of the contents); `download` and `array_files`; then a
kind of data a room, each with a `find` that turns a name or a path into data:

    images/   image_set (what one is), splits (what trains, chooses and tests), find;
              archives, local_images, tfds_images, image_folders over folder_layout;
              decode, augment (inside the jitted step)
    tables/   columns (delimited text, typed), sources, find
    text/     vocabulary, tasks (made on the fly), sources, find; sequences, buckets
              (batches of like lengths); ready to train on: pairs and windows
    points/   toy (points in the plane), two_samples (to compare)
"""
