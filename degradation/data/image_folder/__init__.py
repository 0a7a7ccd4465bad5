"""A folder of JPEGs in ImageNet's layout: its list, its decoding, its batches."""
