"""What a step runs on: the device, a CUDA graph, several runs or several processes at once."""
