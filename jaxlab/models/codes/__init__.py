"""Networks of codes: priors that generate the codes of pictures, row by row.

`code_gpt` goes from the first code to the last, `maskgit` fills in many at a time; each
has a file of samplers, and `make_prior` makes both from plain values.
"""
