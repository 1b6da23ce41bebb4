"""Work past one machine: what AWS Step Functions' Distributed Map runs, and how it is started.

``statemachine/`` has the two definitions. The function that they invoke is this package's own,
whose handler calls ``jobs``; ``executions`` starts one from here and follows it.
"""
