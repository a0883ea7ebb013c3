r"""Optimal transport: from point masses a at x to masses b at y at least cost.

Primal: $\min_P \sum_{ij} P_{ij} C_{ij}$ over plans $P \ge 0$ with row sums a and column
sums b. Dual: $\max_{f, g} \sum_i a_i f_i + \sum_j b_j g_j$ over potentials with
$f_i + g_j \le C_{ij}$. The two values are equal.

    costs               |x - y|^p of clouds of points, any norm
    exact               plan and potentials of a discrete problem, to the last digits
    duality             what must hold of them, as functions; Kantorovich-Rubinstein
    linear_programs     the two programs as matrices; the alternative of Farkas
    closed_form         one dimension, Gaussians, slices
    sinkhorn            with an entropy, in JAX: jit, vmap, derivatives
    divergence          Sinkhorn divergence and barycenters
    simplex, assignment    the ways of the exact solver
    geometry, overrelaxation, measures    parts of these

The exact solver works on the host in float64, whatever JAX's precision; the rest is in
the precision of its arrays. In the shapes, n counts the x, m the y, j features.
"""
