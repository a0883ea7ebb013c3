"""Where a network, data and measures meet: trained networks, looked at and scored.

open_run                  configuration, network and parameters of a run's folder
images, points            reports of generators, of images and of points
two_samples               distances between two samples, with their potentials
duality_examples          worked examples of the dual of transport
translations              a translator's texts beside the references
image_sampler             images of a generator, batch by batch
embedding                 features of images, batch by batch, for scores by features
feature_networks          chooses what makes these features: Inception, or a
classifier                classifier that is trained once on the training images
"""
