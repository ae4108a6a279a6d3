"""Trackers fed from a run's own files: W&B, TensorBoard, MLflow. Training itself knows none."""
