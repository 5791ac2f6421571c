"""Measuring a trained model on batches."""
