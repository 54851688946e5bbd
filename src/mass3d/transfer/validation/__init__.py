"""Dice of one labelled example while a network is pretrained; it learns nothing from it."""
