"""Work on a Ray cluster: jobs, their logs, training workers."""
