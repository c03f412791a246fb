"""One run, assembled from scenario, backbone, method, trackers and loop."""
