"""What stands behind the commands: configurations, run folders, pictures, progress."""
