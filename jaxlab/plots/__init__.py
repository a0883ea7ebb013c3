"""Pictures: numbers in, a PNG file out. Knows no run folder and no source of data.

figure      a figure that no window shows, written at once
curves      metrics over the steps, of one run or of several
images      images side by side, predictions, the confusion matrix
tables      importance of features, predictions for the rows of a table
text        attention between tokens, gradient by lag
critic      a critic's contours beside points, stages, an animation
transport   plans, potentials, distances
"""
