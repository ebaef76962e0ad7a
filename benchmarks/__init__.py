"""What is measured, against what, reproducibly."""
