"""The command line, the Prefect flows and the reports."""
