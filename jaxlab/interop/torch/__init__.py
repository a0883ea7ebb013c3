"""Weights of torch's own modules: `recurrent` (LSTM, GRU, RNN), `transformer`."""
