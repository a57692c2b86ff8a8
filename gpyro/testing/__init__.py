"""Public test kit: contract suites for plug-ins."""
