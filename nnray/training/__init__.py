"""The one training loop, and what it is made of: torch only, no Ray, no MLflow."""
