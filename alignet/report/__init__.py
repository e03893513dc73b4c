"""The report: one page that can be read offline, and the executed notebooks as pages beside it."""
