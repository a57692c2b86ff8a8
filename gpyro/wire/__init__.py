"""gpyro's wire format, without input or output: see ``docs/wire.md``."""
