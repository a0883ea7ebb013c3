"""What boosting minimises.

objective    a loss of a row, its derivatives, and how leaves use it
losses, ranking, diagonal    losses;  catalogue: by name
start        the best constant score
metric       what is watched;  ordering: metrics of sorted rows
"""
