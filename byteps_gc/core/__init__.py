"""What a worker process does without a framework."""
