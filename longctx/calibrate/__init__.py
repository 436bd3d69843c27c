"""Calibration: phantoms are swept as any model is, and what is measured is set against what they are designed to do."""
