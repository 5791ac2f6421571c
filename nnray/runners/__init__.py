"""Who consumes the reports of the training loop: this process, or Ray."""
