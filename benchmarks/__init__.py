"""Speed, measured as ratios of two sides that take turns in one run; never asserted in a test."""
