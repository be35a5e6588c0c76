"""Where models and their evidence are kept: OCI layouts and registries, MLflow. What comes from there is hostile."""
