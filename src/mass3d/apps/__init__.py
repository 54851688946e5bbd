"""One file per verb: its settings, `run(config)` and the report that says what happened."""
