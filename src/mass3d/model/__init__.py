"""The in-context network: encoder, task encoder, decoder and per-mask classifier."""
