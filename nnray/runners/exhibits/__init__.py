"""What a task shows of a model, drawn as files, kept in the run's storage and recorded beside its metrics."""
