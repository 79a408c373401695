"""What leaves a training job: files that others serve, checked before anyone can see them."""
