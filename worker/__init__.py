"""The job: who claims it, the process that runs it, and the pipeline inside."""
