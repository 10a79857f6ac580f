"""The benchmark: this service, its peers and the model alone, side by side in one run."""
