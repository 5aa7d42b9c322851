"""The outside libraries for metrics and traces, behind the ports. Named by the composition roots alone."""
