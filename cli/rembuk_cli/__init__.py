"""The operator's command: run a region, follow its events, see whether all is well."""
