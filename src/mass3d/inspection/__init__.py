"""What one scan, one label and a whole cohort are, and what is odd about them; no picture."""
