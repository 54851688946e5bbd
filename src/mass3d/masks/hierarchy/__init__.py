"""The engine `hierarchy`: masks from hierarchies of watershed regions."""
