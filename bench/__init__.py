"""The benchmark: predict, measure, rank."""
