"""From one labelled scan to others: align, carry the label over, correct it with a tuned head."""
