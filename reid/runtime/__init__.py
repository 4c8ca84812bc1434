"""What has nothing to do with re-identification: devices, processes, seeds, run state, logs, files, command lines."""
