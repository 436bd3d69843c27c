"""Results of other tools, read so that they can be drawn with intervals; and ours, written as others read them."""
