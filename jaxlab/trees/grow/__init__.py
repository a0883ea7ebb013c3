"""Growing one tree, exactly the same for every implementation and mesh.

grow         a tree, compiled whole or by `expand` in JAX
problem      what that is given, and gives back;  layout: makes it of binned rows
histogram, split, fixed_point, sampling    its parts
tree         Nodes and Forest, the arrays;  predict: rows through trees
"""
