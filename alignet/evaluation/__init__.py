"""What aligned models are scored on: Levels, uncertainty, similarity, reorganisation, downstream tasks and cost."""
