"""Networks from settings: layers, blocks, initialization, parameters and FLOPs, kernels."""
