"""The whole way, shown and measured: the demo and the benchmarks. They compose stages; nothing composes them."""
