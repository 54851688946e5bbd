"""A small head that learns on one labelled scan to correct what an alignment carries over."""
