"""What the service tells about itself: spans, metrics, logs."""
