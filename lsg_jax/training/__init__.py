"""Training: the state, the two steps of Algorithm 1, which epoch takes which, and the loop."""
