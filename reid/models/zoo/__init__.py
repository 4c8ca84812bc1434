"""The zoo: models of others and of ours that are known by name, one JSON file each; docs/zoo.md says what is in one."""
