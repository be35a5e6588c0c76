"""The demo and the benchmarks: the whole way from a model to a verdict, shown and measured. They call stages."""
