"""Recurrent networks of tokens: `language` (language model, classifier), `seq2seq`."""
