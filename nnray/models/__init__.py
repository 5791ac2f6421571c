"""Networks for classification: functions from what is known of the data to a module that gives logits."""
