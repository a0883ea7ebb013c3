"""Networks; they know no optimiser.

vision/        vit; inception and feature_classifier, whose features measure images
transformer/   encoder_decoder, decoder (a language model), encoder
recurrent/     language (model and classifier), seq2seq: LSTM and GRU
gan/           make finds generators and critics by name: dense, conv, resnet
codes/         make: vqvae and vqgan turn images into codes and back; patch_gan
decode/        what all autoregressive networks share: greedy, sampled, beam search
language_models, translators
               networks of texts by name, from plain fields
sizing         the width that gives a network so many parameters
"""
